"""The command line: one short file a verb, imported when the verb is used.

The same group is a plug-in of rasterio's ``rio``: ``rio imatch match …``.
"""

from __future__ import annotations

import click

from imatch._version import __version__
from imatch.cli.group import VerbGroup


@click.group(
    "imatch",  # The name under which `rio` lists it.
    cls=VerbGroup,
    verbs={
        "match": (
            "imatch.cli.registration.match:match",
            "Register a target image to a reference image.",
        ),
        "register": (
            "imatch.cli.registration.register:register",
            "Register a whole scene and write it.",
        ),
        "stack": ("imatch.cli.registration.stack:stack", "Tie images of many dates together."),
        "apply": (
            "imatch.cli.registration.apply:apply",
            "Apply a result to rasters, vectors and products.",
        ),
        "batch": (
            "imatch.cli.registration.batch:batch",
            "Register many pairs, here or on a cluster.",
        ),
        "view": ("imatch.cli.registration.view:view", "Look at a result on one page."),
        "index": ("imatch.cli.retrieval.index:index", "Make images findable by what they show."),
        "search": ("imatch.cli.retrieval.search:search", "Find where an image lies in an index."),
        "same": ("imatch.cli.retrieval.same:same", "Say whether two images show the same ground."),
        "duplicates": (
            "imatch.cli.retrieval.duplicates:duplicates",
            "Find files that are one picture.",
        ),
        "bench": (
            "imatch.cli.registration.bench:bench",
            "Run matchers over cases with known truth.",
        ),
        "data": ("imatch.cli.training.data:data", "Prepare, fetch and look at training data."),
        "train": ("imatch.cli.training.train:train", "Train a network on images of one's own."),
        "eval": ("imatch.cli.retrieval.eval:eval_", "Measure embeddings, retrieval and decisions."),
        "matchers": (
            "imatch.cli.registration.matchers:matchers",
            "List the matchers and their weights.",
        ),
        "weights": ("imatch.cli.weights:weights", "List, fetch or locate checkpoints."),
        "export": ("imatch.cli.export:export", "Write networks for other programs."),
        "qgis": ("imatch.cli.qgis:qgis", "Install the QGIS plugin, or pack it for others."),
        "doctor": ("imatch.cli.doctor:doctor", "Say what is installed and what is wrong."),
        "completion": ("imatch.cli.completion:completion", "Print a shell completion script."),
    },
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 ok; 1 error; 2 usage; 3 the images were not registered.",
)
@click.version_option(__version__, message="imatch %(version)s")
def cli() -> None:
    """Register satellite images across seasons, sensors and years.

    Start with: imatch match REFERENCE TARGET
    """


def main() -> None:
    """Run the command line and exit with its code."""
    cli.main(prog_name="imatch")
