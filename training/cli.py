"""The command `visavis-train`: corpus, training, evaluation.

Exit codes as those of `visavis`: 0 done, 2 something the user can mend, 130 interrupted.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence

from models.errors import VisavisError

COMMANDS = {
    "people": ("training.people.generate", "render synthetic people as training data"),
    "sheet": ("training.people.sheet", "a contact sheet of synthetic people, to look at first"),
    "portrait": ("training.people.portrait", "the demo person, at high quality"),
    "lifter": ("training.train_lifter", "train the lifter"),
    "refiner": ("training.train_refiner", "train the refiner on a lifter's renders"),
    "sd-turbo": ("training.train_sd_turbo", "train the large refiner on a lifter's renders"),
    "portraits": ("training.train_portraits", "go on training the lifter with real portraits"),
    "export": ("training.export", "write a checkpoint's weights as the package ships them"),
    "calibrate": ("training.calibrate", "measure what networks need to compute in eight bits"),
    "multiview": ("training.multiview", "bring photographed people with cameras in, to measure on"),
    "plot": ("training.plots", "curves of training logs"),
    "evaluate": ("training.evaluate", "measure lifter and refiner on held-out people"),
}
"""Word: (module with `configure` and `run`, what it does)."""

OPTIONAL = {
    "matplotlib": "train",
    "moderngl": "train",
    "tqdm": "train",
    "dlib": "identity",
    "face_recognition_models": "identity",
}
"""Package: the extra that brings it."""

USER_ERROR = 2
INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code.

    Args:
        arguments: without the program's name; those of the process by default.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    width = max(map(len, COMMANDS)) + 2
    listed = "\n".join(f"  {word:<{width}}{purpose}" for word, (_, purpose) in COMMANDS.items())
    parser = argparse.ArgumentParser(
        prog="visavis-train",
        usage="visavis-train COMMAND [options]",
        description=f"Corpus, training and evaluation of the networks.\n\n{listed}",
        epilog="visavis-train COMMAND --help lists the options of one.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("command", choices=COMMANDS, metavar="COMMAND", help="one of those above")
    command = parser.parse_args(words[:1]).command
    module_name, purpose = COMMANDS[command]
    try:
        module = importlib.import_module(module_name)
        own = argparse.ArgumentParser(
            prog=f"visavis-train {command}",
            description=module.__doc__,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.configure(own)
        module.run(own.parse_args(words[1:]))
    except VisavisError as error:
        return _complain(error.reason)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in OPTIONAL:
            raise
        return _complain(f"This needs {package}. Run: pip install 'visavis[{OPTIONAL[package]}]'")
    except OSError as error:
        return _complain(f"{error.filename or ''}: {error.strerror or error}.".removeprefix(": "))
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0


def _complain(reason: str) -> int:
    print(f"visavis-train: {reason}", file=sys.stderr)
    return USER_ERROR


if __name__ == "__main__":
    sys.exit(main())
