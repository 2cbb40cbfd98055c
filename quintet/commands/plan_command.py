"""`quintet plan`, as a person types it."""

from __future__ import annotations

from pathlib import Path

import click

from quintet.commands.json_file import JSON, write_json


@click.command()
@click.argument("preset")
@click.option("--gpus", required=True, type=click.IntRange(min=1), metavar="N")
@click.option("--device", default="h100", show_default=True, help="a100, h100, h200 or b200.")
@click.option("--tensor", default=1, show_default=True, type=click.IntRange(min=1),
              help="How many of them share each layer.")  # fmt: skip
@click.option("--context", default=1, show_default=True, type=click.IntRange(min=1),
              help="How many of them share the rows of each sample.")  # fmt: skip
@click.option("--rows", type=click.IntRange(min=1),
              help="Of a sample; by default 8,192, or max_rows of the preset.")  # fmt: skip
@click.option("--batch", "samples", default=1, show_default=True, type=click.IntRange(min=1),
              help="Samples at once on each device, or on those that share.")  # fmt: skip
@click.option("--text-asked", "text_share", default=0.5, show_default=True, type=float,
              help="Share of the rows at which the text+image head is asked.")  # fmt: skip
@click.option("--audio-asked", "audio_share", default=0.5, show_default=True, type=float,
              help="And the audio head.")  # fmt: skip
@click.option("--checkpointing/--no-checkpointing", default=True, show_default=True,
              help="Layers are computed again backward, or keep their activations.")  # fmt: skip
@click.option("--efficiency", type=float,
              help="Share of the device's peak at which matrices are multiplied.")  # fmt: skip
@click.option("--price", "dollars_per_hour", type=float, help="Dollars an hour of a device.")
@click.option("--training-rows", type=float, help="By default 20 a parameter.")
@click.option("--check", is_flag=True, help="Measure memory and exchange by a dry run, here.")
@JSON
def plan(
    preset: str, gpus: int, device: str, tensor: int, context: int, rows: int | None, samples: int,
    text_share: float, audio_share: float, checkpointing: bool, efficiency: float | None,
    dollars_per_hour: float | None, training_rows: float | None, check: bool,
    json_file: Path | None,
) -> None:  # fmt: skip
    """What training PRESET on N devices takes: memory, exchange, time, cost.

    All is modelled; --check makes a dry run of the real step on this machine, without any GPU and
    in less than a gigabyte, and puts what it measures beside the model.
    """
    from quintet.commands.plan import make_plan, refuse_misfit, run_plan

    layout = {"devices": gpus, "tensor": tensor, "context": context, "samples": samples,
              "text_share": text_share, "audio_share": audio_share,
              "checkpointing": checkpointing}  # fmt: skip
    assumed = {"efficiency": efficiency, "dollars_per_hour": dollars_per_hour,
               "training_rows": training_rows}  # fmt: skip
    given = {name: value for name, value in assumed.items() if value is not None}
    made = make_plan(preset, device, rows, layout, given)
    write_json(run_plan(made, check), json_file)
    refuse_misfit(made)
