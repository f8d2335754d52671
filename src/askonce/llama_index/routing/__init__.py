"""Model routing in LlamaIndex."""
