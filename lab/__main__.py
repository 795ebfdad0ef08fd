"""`python -m lab`: up, down, status, demo, chaos, bench-dispatch, bench-caches for people and make; serve is what `up` starts."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from collections.abc import Sequence

from lab import service
from lab.errors import LabError
from lab.files import Folder
from lab.toolchain import ensure


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(prog="python -m lab", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, text in (
        ("up", "start the lab and leave it running"),
        ("serve", "run the lab in the foreground, until Ctrl-C"),
    ):
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument(
            "--runtime",
            choices=("docker", "simulated"),
            default="docker",
            help="run ECS tasks as real containers, or only play them by plan (default: docker)",
        )
        command.add_argument(
            "--kind", action="store_true", help="a real cluster made by kind, the operator as a Pod in it"
        )
    commands.add_parser("down", help="stop the lab and remove everything it made")
    commands.add_parser("status", help="say whether the lab is up, and where its parts are (exit code 3: it is not)")
    text = "the whole walk: a cache, a cold build, a warm one, one after a change, clean-up"
    demo_command = commands.add_parser("demo", help=text, description=text)
    demo_command.add_argument("--kind", action="store_true", help="with the operator in a real cluster made by kind")
    chaos_command = commands.add_parser(
        "chaos", help="kill the operator and spoil its calls at each effect, in a lab of its own"
    )
    chaos_command.add_argument("--only", choices=("caches", "builds"), help="a part of the matrix (default: all)")
    bench_dispatch = commands.add_parser(
        "bench-dispatch", help="time from the creation of a Build to RunTask, in a lab of its own"
    )
    bench_dispatch.add_argument(
        "--full", action="store_true", help="20 Builds a second for 3 minutes, 1,000 at once, and a restart beside them"
    )
    commands.add_parser("bench-caches", help="100 BuildCaches at once, in a lab of its own")
    options = parser.parse_args(arguments)
    # What is ended from outside leaves nothing behind, as after Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    folder = Folder.from_environment()
    try:
        match options.command:
            case "up":
                service.up(folder, options.runtime, _say, kind=options.kind)
                _say(service.status(folder)[1])
                kubectl = ensure("kubectl", _say)
                kubeconfig = json.loads(folder.info.read_text())["kubeconfig"]
                _say(f"to look around: export KUBECONFIG={kubeconfig} PATH={kubectl.parent}:$PATH")
            case "down":
                service.down(folder, _say)
            case "status":
                is_up, text = service.status(folder)
                _say(text)
                return 0 if is_up else 3
            case "serve":
                code = service.serve(folder, options.runtime, service.progress_to(folder), kind=options.kind)
                sys.stdout.flush()
                sys.stderr.flush()
                # Not `return`: after a failed start a thread may still be building a tool, and Python would wait for it.
                os._exit(code)
            case "bench-dispatch":
                from lab.bench import main as bench

                return bench(options.full)
            case "bench-caches":
                from lab.bench_caches import main as bench_caches

                return bench_caches()
            case "chaos":
                from lab.chaos import main as chaos

                return chaos([options.only]) if options.only else chaos()
            case _:
                from lab.demo import main as demo

                return demo(kind=options.kind)
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
