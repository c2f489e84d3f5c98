"""`./dev fuzz [TARGET ..] --secs N`: feeds mutated bytes to each target for its share of the time."""

from __future__ import annotations

import argparse
import logging
import random
import sys
import time

from tests.fuzz.mutate import Mutator
from tests.fuzz.targets import TARGETS


def fuzz(name: str, secs: float, seed: int) -> int:
    """How many inputs it got; raises what the target raised, with the input that did it."""
    target, until, amount = TARGETS[name], time.monotonic() + secs, 0
    mutator = Mutator(target.seeds, random.Random(f"{seed}/{name}"))
    while time.monotonic() < until:
        data = mutator.next()
        amount += 1
        try:
            target.run(data)
        except Exception as exc:
            exc.add_note(f"target {name!r}, seed {seed}, input {amount}: {data!r}")
            raise
    return amount


def main() -> int:
    parser = argparse.ArgumentParser(prog="./dev fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(TARGETS)}; all by default")
    parser.add_argument("--secs", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    arguments = parser.parse_args()
    unknown = set(arguments.targets) - set(TARGETS)
    if unknown:
        parser.error(f"unknown target {', '.join(sorted(unknown))}")
    logging.disable()
    names = arguments.targets or list(TARGETS)
    print(f"seed {arguments.seed}")
    for name in names:
        print(f"{name:14} {fuzz(name, arguments.secs / len(names), arguments.seed):8,} inputs", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
