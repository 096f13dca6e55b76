"""Open the app: `python app.py`, then visit the address that it prints."""

# ruff: noqa: E402, I001
import gc
import sys

gc.disable()  # what is imported stays, and looking through it again and again takes a second of the start

from zero1toa.progress import lack_of_files

if reason := lack_of_files(256):  # a crowd of twenty visitors has had 80 open
    sys.exit(f"error: {reason}")

import spaces  # noqa: F401  # before anything that loads torch, for Spaces with shared GPUs

import argparse
import os
import signal

from zero1toa.ui.layout import build_app, launch_options

demo = build_app()
gc.freeze()
gc.enable()


def main() -> None:
    """Read the flags and serve the page until interrupted."""
    parser = argparse.ArgumentParser(description="One portrait photo becomes an animatable 3D head: the app.")
    parser.add_argument("--share", action="store_true", help="also open a public link through gradio.live")
    # On a Space everybody may come in; anywhere else only this computer, unless asked.
    host = "0.0.0.0" if os.environ.get("SPACE_ID") else os.environ.get("GRADIO_SERVER_NAME", "127.0.0.1")
    parser.add_argument("--server-name", default=host, help="address to listen on (0.0.0.0 for the whole network)")
    parser.add_argument("--server-port", type=int, default=None, help="port, the first free one from 7860 if left out")
    args = parser.parse_args()
    # Containers are stopped so; like Ctrl-C, it lets us delete what visitors left.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    demo.launch(share=args.share, server_name=args.server_name, server_port=args.server_port, **launch_options())


if __name__ == "__main__":
    main()
