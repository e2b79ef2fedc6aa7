#!/usr/bin/env python3
"""How long a language model takes from loading to its first token, with and without a cache directory.

  bench/startup.py MODEL_DIR... [--program build/release/rondo] [--rounds 5] [--threads N]

Each round starts three processes, one after the other, on a prompt of five tokens:

  none     no cache directory
  first    an empty directory: this process fills it
  second   finds there what the first one left

Printed are the medians of "load + first token" as the program measures it and of the whole process, their range, and
the ratio of medians; "warm" is the first token of a further prompt in a process that has compiled everything. Files are
read from the system's page cache: the first round is not counted.
"""

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

PROMPT = ["--prompt-ids", "1,2,3,4,5"]


def run(program, model, threads, cache_dir, prompts=1):
    command = [program, "generate", model, "--max-new-tokens", "1", "--ignore-eos", "--json", "--batch-size", "1",
               "--threads", str(threads), "--cache-dir", cache_dir] + PROMPT * prompts
    begin = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True)
    wall = time.monotonic() - begin
    if done.returncode != 0 or "warning: cache directory" in done.stderr:
        sys.exit(f"{' '.join(command)}: exit code {done.returncode}\n{done.stderr}")
    result = json.loads(done.stdout)
    timings = result["timings"]
    start = timings["load_seconds"] + timings["buffers_seconds"] + timings["first_token_seconds"]
    return {"start": start, "wall": wall, "ids": [s["ids"] for s in result["sequences"]], "timings": timings,
            "cache": result.get("cache_directory", {})}


def measure(program, model, threads):
    folder = tempfile.mkdtemp(prefix="rondo-startup-")
    try:
        round_ = {"none": run(program, model, threads, "none")}
        round_["first"] = run(program, model, threads, folder + "/cache")
        round_["second"] = run(program, model, threads, folder + "/cache")
        warm = run(program, model, threads, folder + "/cache", prompts=3)
    finally:
        shutil.rmtree(folder)
    if len({str(r["ids"]) for r in round_.values()}) != 1 or len({str(i) for i in warm["ids"]}) != 1:
        sys.exit(f"{model}: the processes do not agree on the token")
    if round_["second"]["cache"]["weights_packed"] != 0:
        sys.exit(f"{model}: the second process packed weights")
    timings = warm["timings"]
    round_["warm"] = {"start": (timings["prefill_seconds"] - timings["first_token_seconds"]) / 2}
    return round_


def milliseconds(values):
    return f"{1e3 * statistics.median(values):8.1f} ({1e3 * min(values):.1f} to {1e3 * max(values):.1f})"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", metavar="MODEL_DIR")
    parser.add_argument("--program", default="build/release/rondo")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=0, help="0: all cores")
    args = parser.parse_args()
    for model in args.models:
        rounds = [measure(args.program, model, args.threads) for _ in range(args.rounds + 1)][1:]
        column = lambda kind, what: [r[kind][what] for r in rounds]
        print(f"{model}\n  {'':8}{'load + first token, ms':>28}  {'whole process, ms':>28}")
        for kind in ("none", "first", "second"):
            print(f"  {kind:8}{milliseconds(column(kind, 'start')):>28}  {milliseconds(column(kind, 'wall')):>28}")
        print(f"  {'warm':8}{milliseconds(column('warm', 'start')):>28}")
        second = statistics.median(column("second", "start"))
        print(f"  second process {statistics.median(column('none', 'start')) / second:.1f}x as fast as without a "
              f"directory, {statistics.median(column('first', 'start')) / second:.1f}x as the first with one; "
              f"{rounds[0]['second']['cache']['bytes_found'] / 1e6:.0f} MB found")


if __name__ == "__main__":
    main()
