"""`geounet models`: what a model is, and its way in from other tools and out to other runtimes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from . import options

_PATH = click.Path(path_type=Path)
_DTYPES = ["uint8", "int8", "uint16", "int16", "uint32", "int32", "float32", "float64"]


def _names(_ctx: click.Context, _param: click.Parameter, text: str | None) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",")) if text else ()


@click.group()
def command() -> None:
    """Show, check, import, export and quantize model files."""


@command.command("list")
@options.option("--json", "as_json", is_flag=True, help="Print JSON.")
@options.common
def list_(as_json: bool, quiet: bool) -> None:  # noqa: ARG001 - no progress here
    """Name the models that come with geounet; `--model NAME` takes one of them."""
    from geounet.models.model_file import read_card

    found = {}
    for name, path in options.own_models().items():
        card = read_card(path)
        classes, bands = ([item.name for item in part] for part in (card.classes, card.bands))
        found[name] = {"path": str(path), "bands": bands, "classes": classes, "resolution_m": card.resolution}
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    for name, told in found.items():
        click.echo(f"{name}: {', '.join(told['classes'])}; bands {', '.join(told['bands'])}")
        click.echo(f"  {told['path']}")


@command.command("show")
@click.argument("model", type=_PATH)
@options.option("--json", "as_json", is_flag=True, help="Print JSON.")
@options.common
def show(model: Path, as_json: bool, quiet: bool) -> None:  # noqa: ARG001 - no progress here
    """Say what MODEL is: network, bands, classes, resolution, halo, metrics, origin."""
    from geounet.models.inspection import describe_model

    found = describe_model(model)
    click.echo(json.dumps(found, indent=2) if as_json else _text(found))


@command.command("import")
@click.argument("checkpoint", type=_PATH)
@options.out("Model file (.safetensors).")
@options.option("--arch", help="smp architecture; by default what the checkpoint names, else unet.")
@options.option("--encoder", help="smp encoder such as resnet18; by default what the checkpoint names.")
@options.option(
    "--bands", callback=options.parse_numbers(int),
    help="Bands of a scene that the network reads, from 1, in its order; by default 1,2,3,...",
)  # fmt: skip
@options.option("--band-names", callback=_names, help="Their names, such as red,green,blue; by default band_1,...")
@options.option(
    "--classes", "class_file", type=_PATH,
    help="Class table, CSV with value,name,color, in the order of the network's outputs; by default class_0,...",
)  # fmt: skip
@options.option(
    "--mean", callback=options.parse_numbers(float),
    help="Subtracted from each band's values in training, in the scene's unit; one number for all, or one a band.",
)  # fmt: skip
@options.option(
    "--std", callback=options.parse_numbers(float),
    help="By which they were then divided; one number for all, or one a band.",
)  # fmt: skip
@options.option(
    "--resolution", type=click.FloatRange(0, min_open=True), help="Metres a pixel in training; by default any."
)
@options.option(
    "--dtype", type=click.Choice(_DTYPES), default="uint8", show_default=True, help="Data type of the scenes."
)
@options.option(
    "--scene-bands", type=click.IntRange(1), help="Bands of the scenes, unread ones too; by default the last band read."
)
@options.option("--trust", is_flag=True, help="Load TorchScript, which can run code; only its weights are kept.")
@options.overwrite
@options.common
def import_(checkpoint: Path, out: Path, trust: bool, overwrite: bool, quiet: bool, **given: Any) -> None:
    """Make a model file of CHECKPOINT: an smp state dict, a torchgeo or Lightning checkpoint, safetensors.

    What needs code to be read is refused. The weights say how many bands and classes there are.
    """
    from geounet.class_tables import read_classes
    from geounet.models.exchange import Facts, import_model

    class_file = given.pop("class_file")
    known = {name: value for name, value in given.items() if value is not None}
    card = import_model(
        checkpoint,
        out,
        Facts(**known, classes=read_classes(class_file) if class_file else ()),
        trust=trust,
        command=options.command_line(),
        overwrite=overwrite,
    )
    if not quiet:
        built = card.architecture
        network = f"{built.arch} with {built.encoder}, {built.in_channels} bands, {built.classes} classes"
        click.echo(f"{out}: {network}, {_reach(card.halo, card.stride)}", err=True)


@command.command("export")
@click.argument("model", type=_PATH)
@options.out("ONNX (.onnx) or OpenVINO IR (.xml, with a .bin beside it).")
@options.option(
    "--window-size", type=click.IntRange(1), default=512, show_default=True,
    help="Side in pixels of the window on which the outputs are compared with PyTorch's; it limits nothing.",
)  # fmt: skip
@options.overwrite
@options.common
def export(model: Path, out: Path, window_size: int, overwrite: bool, quiet: bool) -> None:
    """Write MODEL for another runtime, and compare its outputs with PyTorch's.

    The input "image" (N, bands, H, W) takes the scene's scaled values in float32: the normalisation is part of the
    graph. The output is "logits". N, H and W are free; H and W are multiples of the stride. ONNX has opset 18. Bands,
    classes, halo, stride and resolution are in the file's metadata.
    """
    from geounet.models.export import export_model

    difference = export_model(model, out, window_size=window_size, overwrite=overwrite)
    if not quiet:
        click.echo(f"{out}: differs from PyTorch by {difference:.1e} at most", err=True)


@command.command("quantize")
@click.argument("model", type=_PATH)
@click.argument("scenes", nargs=-1, required=True, metavar="SCENE...")
@options.pattern
@options.opening
@options.radiometry
@options.overwrite
@options.common
def quantize(model: Path, scenes: tuple[str, ...], pattern: str | None, quiet: bool, **given: Any) -> None:
    """Keep MODEL's network in 8-bit integers beside it, calibrated on SCENEs (any source) like those to come.

    From then on `--precision auto` takes it on a CPU, for every scene on whose own pixels it gives 99.9 % of the
    classes that float32 gives.
    """
    from geounet.engine.compatibility import scene_for_model
    from geounet.engine.quantization import quantize_model
    from geounet.models.model_file import read_card
    from geounet.sources.listing import list_scenes

    card, overwrite = read_card(model), given.pop("overwrite")
    opened = [scene_for_model(name, card, **given) for name in list_scenes(scenes, pattern)]
    place, share = quantize_model(model, opened, overwrite=overwrite)
    if not quiet:
        click.echo(f"{place}: {share:.3%} of the class pixels of fp32, on {len(opened)} scenes", err=True)


@command.command("verify")
@click.argument("model", type=_PATH)
@options.common
def verify(model: Path, quiet: bool) -> None:  # noqa: ARG001 - one line of result
    """Read all of MODEL, probe its receptive field anew and run it once."""
    from geounet.models.inspection import verify_model

    found = verify_model(model)
    height, width = found.window
    click.echo(
        f"{model}: sound; {found.parameters:,} parameters are finite, {_reach(found.halo, found.stride)} as probed, "
        f"a window of {height} x {width} pixels runs"
    )


def _reach(halo: int | None, stride: int) -> str:
    seen = "no halo (the output depends on the whole window)" if halo is None else f"halo {halo} px"
    return f"{seen}, stride {stride} px"


def _text(found: dict[str, Any]) -> str:
    built = found["architecture"]
    cells = f"cells of {built['factor']} px, " if built["factor"] > 1 else ""
    own = f"{cells}depth {built['depth']}, width {built['width']}, {built['norm']}, {built['upsampling']}"
    shape = built["encoder"] or own
    size = f"{found['resolution']:g} m" if found["resolution"] else "any"
    rows = [
        found["path"],
        f"  network     {built['arch']} ({shape}), {found['parameters']:,} parameters",
        f"  reach       {_reach(found['halo'], found['stride'])}",
        f"  pixel       {size}",
        f"  scenes      {found['scene_bands']} bands of {found['dtype']}",
        *(_band(band) for band in found["bands"]),
        *(f"  class {item['value']:<5} {item['name']:<12} {item['color']}" for item in found["classes"]),
        f"  metrics     {_pairs(found['metrics'])}",
        f"  versions    {_pairs(found['versions'])}",
        *(f"  teacher     {teacher['name']} {teacher['sha256']}" for teacher in found["teachers"]),
        f"  command     {found['command'] or 'unknown'}",
        f"  sha256      {found['sha256']}",
    ]
    return "\n".join(rows)


def _band(band: dict[str, Any]) -> str:
    spread = f"mean {band['mean']:.6g}, std {band['std']:.6g}, {band['minimum']:.6g} to {band['maximum']:.6g}"
    return f"  band {band['number']:<6} {band['name']:<12} {spread}"


def _pairs(values: dict[str, Any]) -> str:
    """Names with their values, those of an inner table with its name; numbers to three digits."""
    rows = [
        f"{name} {inner}" if not isinstance(inner, dict) else f"{name} ({_pairs(inner)})"
        for name, inner in ((name, f"{item:.3g}" if isinstance(item, float) else item) for name, item in values.items())
    ]
    return ", ".join(rows) or "none"
