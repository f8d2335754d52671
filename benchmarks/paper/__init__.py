"""The experiments of Zhu et al., *On Optimal Caching and Model Multiplexing for Large Model Inference* (NeurIPS
2023, arXiv 2306.02003), with askonce's store, eviction, admission and counting of frequencies as the cache.

    python -m benchmarks.paper [--seeds 100] [--markdown FILE] [--plot FILE]
"""
