#!/usr/bin/env python3
"""A float32 export in fewer bits: prefill and decode with --weights exported, int8 and int4, in turns.

  bench/weights.py MODEL_DIR... [--program build/release/rondo] [--rounds 5] [--threads N] [--prompt 128] [--tokens 48]

Each round starts a process for each form, one after the other; a cache directory keeps what they pack, so that packing
is not measured. Printed are medians in tokens per second, their range, and the ratio to the model as exported.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile

FORMS = ["exported", "int8", "int4"]


def run(arguments, model, form, cache_dir):
    command = [arguments.program, "generate", model, "--weights", form, "--max-new-tokens", str(arguments.tokens),
               "--ignore-eos", "--json", "--batch-size", "1", "--threads", str(arguments.threads), "--precompile",
               "--cache-dir", cache_dir, "--prompt-ids", ",".join(str(i) for i in range(1, arguments.prompt + 1))]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}: exit code {done.returncode}\n{done.stderr}")
    result = json.loads(done.stdout)
    if result["primitive_cache"]["misses_after_warmup"] != 0 or len(result["sequences"][0]["ids"]) != arguments.tokens:
        sys.exit(f"{model}: the run was not what is measured")
    return result["timings"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", metavar="MODEL_DIR")
    parser.add_argument("--program", default="build/release/rondo")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--prompt", type=int, default=128)
    parser.add_argument("--tokens", type=int, default=48)
    arguments = parser.parse_args()
    for model in arguments.models:
        print(model)
        with tempfile.TemporaryDirectory() as cache_dir:
            for form in FORMS:
                run(arguments, model, form, cache_dir)  # packs
            timings = {form: [] for form in FORMS}
            for _ in range(arguments.rounds):
                for form in FORMS:
                    timings[form].append(run(arguments, model, form, cache_dir))
        for phase in ["prefill", "decode"]:
            base = None
            for form in FORMS:
                rates = [t[f"{phase}_tokens_per_second"] for t in timings[form]]
                median = statistics.median(rates)
                base = base or median
                print(f"  {phase:8} {form:9} {median:8.1f} tok/s ({min(rates):.1f} to {max(rates):.1f})"
                      f"  {median / base:5.2f}")


if __name__ == "__main__":
    main()
