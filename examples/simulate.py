"""How large should the cache be, and what should it keep? A day of requests, logged, replayed against settings."""

import random
import tempfile
from pathlib import Path

from askonce import Cache
from askonce.entries.entry import Answer, Usage
from askonce.keys.normal_form import NormalForm
from askonce.simulate import draw, simulate

folder = Path(tempfile.mkdtemp())
log, dice = folder / "accesses.log", random.Random(1)

# An application like any other; adapters do for it what stands here. It logs what it asks: no text, only digests,
# sizes, costs and times.
with Cache("memory://", access_log=log) as cache:
    for _ in range(5000):
        number = min(int(dice.paretovariate(0.5)), 3000)  # some questions come often, many once
        request = cache.engine.request("answer", lambda: NormalForm({"question": number}))  # noqa: B023
        assert request is not None
        written = random.Random(number).randrange(50, 800)
        usage = Usage(input_tokens=1000, output_tokens=written)
        model = "gpt-4o" if number % 5 == 0 else "gpt-4o-mini"
        text = random.Random(number).randbytes(4 * written)
        cache.engine.answer(request, lambda: text, lambda made: Answer(made, usage, model))  # noqa: B023

report = simulate(log, policies=["gdsf", "lru"])
print(f"{report.requests} requests would have cost ${report.cost_usd:.2f} without a cache")
for bound in report.bounds:
    row = {point.policy: f"{point.saved_share:.0%}" for point in report.points if point.size == bound.size}
    print(f"{bound.size / 1e6:6.2f} MB   saved: {row}   no cache can save more than {bound.saved_share:.0%}")
print(f"take max_bytes={report.best.size}, eviction={report.best.policy!r}")
draw(report, folder / "curves.svg")
