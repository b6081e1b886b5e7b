"""The option that names a Dask cluster."""

from __future__ import annotations

import click

cluster_option = click.option(
    "--cluster",
    default="",
    metavar="WHERE",
    help="Work on a Dask cluster, with the same answers: tcp://host:port, the scheduler's JSON file, or local:N for N "
    "processes here. Needs synthrelease[cluster]; docs/scale.md.",
)
