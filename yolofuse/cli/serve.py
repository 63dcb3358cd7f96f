"""Run ``yolofuse serve``: a page on this machine on which pairs are dropped and boxes come back."""

from __future__ import annotations

import sys
from pathlib import Path

from yolofuse.cli.common import Parser, run_command
from yolofuse.errors import ConfigError, WeightsError, describe_os_error


def main(argv: list[str] | None = None, prog: str = "yolofuse serve") -> int:
    """Run the command; return its exit code."""
    parser = Parser(
        prog=prog,
        usage="%(prog)s --weights W [--port N] [section.key=value ...]",
        description="Serve a page to this machine alone: drop a visible and a thermal image on it, and "
        "see what the model finds. Ctrl-C ends it.",
    )
    parser.add_argument("--weights", type=Path, metavar="W", required=True, help="as of yolofuse predict")
    parser.add_argument(
        "--port", type=int, default=8765, metavar="N", help="of the page; 0: a free one (default: 8765)"
    )
    parser.add_argument("--device", default="auto", metavar="D", help="auto, cpu, cuda:0 ... (default: auto)")
    args, overrides = parser.parse_with_overrides(sys.argv[1:] if argv is None else argv)

    def command() -> None:
        if not args.weights.exists():
            raise WeightsError(f"--weights: {args.weights}: no such file or run; check the path")
        from yolofuse.predict.load import load
        from yolofuse.serve.server import PairServer

        model = load(args.weights, args.device, overrides)
        try:
            server = PairServer(model, args.port)
        except (OSError, OverflowError) as error:
            why = describe_os_error(error, f"port {args.port}") if isinstance(error, OSError) else error
            raise ConfigError(f"--port: {why}; give another one, or 0 for a free one") from None
        with server:
            print(f"open {server.url} in a browser; Ctrl-C ends it", flush=True)
            server.serve_forever()

    return run_command(command)


if __name__ == "__main__":
    sys.exit(main())
