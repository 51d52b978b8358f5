"""Options that several commands share: one place for names, units and defaults."""

from __future__ import annotations

import functools
import logging
import shlex
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from geounet.models.sizes import DEFAULT_SIZE, SIZES

if TYPE_CHECKING:
    from collections.abc import Callable

    Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def option(name: str, *more: str, **settings: Any) -> Decorator:
    """An option that answers to `--tile-size` and `--tile_size` alike."""
    names = [name, *more]
    twins = ["--" + given[2:].replace("-", "_") for given in names if given.startswith("--") and "/" not in given]
    return click.option(*names, *(twin for twin in twins if twin not in names), **settings)


def command_line() -> str:
    """The command as it was given, such that a shell takes it again."""
    return shlex.join(["geounet", *sys.argv[1:]])


def parse_numbers(kind: type[int | float], count: int | None = None) -> Callable[..., Any]:
    """A callback for `1,2,3`: a tuple of numbers, of a given length if there is one."""

    def parse(_ctx: click.Context, _param: click.Parameter, text: str | None) -> tuple[float, ...] | None:
        if text is None:
            return None
        try:
            numbers = tuple(kind(part) for part in text.split(","))
        except ValueError as error:
            raise click.BadParameter(f"{text!r} is not a list of numbers such as 1,2,3") from error
        if count is not None and len(numbers) != count:
            raise click.BadParameter(f"{text!r} holds {len(numbers)} numbers, not {count}")
        return numbers

    return parse


def _band_list(_ctx: click.Context, _param: click.Parameter, text: str | None) -> tuple[int | str, ...] | None:
    """`1,2,3` or `red,nir`: numbers or names."""
    parts = [part.strip() for part in text.split(",")] if text is not None else []
    if not all(parts):
        raise click.BadParameter(f"{text!r} is not a list of numbers such as 1,2,3 or of names such as red,nir")
    return tuple(int(part) if part.isdecimal() else part for part in parts) or None


def _pixels_or_auto(_ctx: click.Context, _param: click.Parameter, text: str) -> int | None:
    """A number of pixels; None for `auto`."""
    if text == "auto":
        return None
    if not text.isdecimal():
        raise click.BadParameter(f"{text!r} is neither a number of pixels nor auto")
    return int(text)


def _say_more(_ctx: click.Context, _param: click.Parameter, given: bool) -> None:
    """All our own records, and what libraries and Python warn of, which is not shown otherwise."""
    if given:
        logging.getLogger("geounet").setLevel(logging.DEBUG)
        warnings.simplefilter("default")
        for handler in logging.getLogger().handlers:
            for chosen in [*handler.filters]:
                handler.removeFilter(chosen)


def out(help_text: str) -> Decorator:
    """`-o/--out`."""
    return option("--out", "-o", required=True, type=click.Path(path_type=Path), help=help_text)


def folder_or_bucket(_ctx: click.Context, _param: click.Parameter, text: str) -> Path | str:
    """A folder, or the URL of a prefix in an object store."""
    return text if "://" in text else Path(text)


def folders_or_buckets(ctx: click.Context, param: click.Parameter, texts: tuple[str, ...]) -> list[Path | str]:
    """Several of :func:`folder_or_bucket`."""
    return [folder_or_bucket(ctx, param, text) for text in texts]


overwrite = option("--overwrite", "-f", is_flag=True, help="Replace an output that exists.")


def force(help_text: str) -> Decorator:
    """`--force`: go on in spite of what the help says."""
    return option("--force", is_flag=True, help=help_text)


tile_size = option(
    "--tile-size", type=click.IntRange(min=1), default=2048, show_default=True,
    help="Block a worker takes at once, in pixels; it changes no result.",
)  # fmt: skip
scheduler = option(
    "--scheduler", default="local", show_default=True,
    help="Dask scheduler: local, tcp://HOST:PORT, or a scheduler file.",
)  # fmt: skip
workers = option(
    "--workers", type=click.IntRange(min=1), default=1, show_default=True,
    help="Worker processes of the local scheduler; one works within this process.",
)  # fmt: skip


def own_models() -> dict[str, Path]:
    """The models that come with geounet, by their names."""
    from importlib.resources import files

    return {"sample": Path(str(files("geounet_sample_tiles"))) / "model.safetensors"}


def file_of_model(_ctx: click.Context, _param: click.Parameter, path: Path | None) -> Path | None:
    """A model file; of one that comes with geounet its name is enough."""
    if path is None or path.exists() or path.suffix:
        return path
    known = own_models()
    if str(path) not in known:
        raise click.BadParameter(f"{path} is neither a file nor one of the models that come along ({', '.join(known)})")
    return known[str(path)]


model = option(
    "--model",
    "-m",
    "model",
    required=True,
    type=click.Path(path_type=Path),
    callback=file_of_model,
    help="Model file (.safetensors), or the name of one that comes along (geounet models list).",
)
bands = option(
    "--bands",
    callback=_band_list,
    help="Bands to read, by number from 1, such as 1,2,3, or by name, such as red,nir; all but alpha by default.",
)
bbox = option(
    "--bbox", callback=parse_numbers(float, 4),
    help="Only this box: minx,miny,maxx,maxy in the scene's CRS; the same pixels as the crop of the whole. With "
    "--stac-api west,south,east,north in degrees, what items must touch; they are not cropped.",
)  # fmt: skip
quiet = option("--quiet", "-q", is_flag=True, expose_value=True, help="No progress on standard error.")
verbose = option(
    "--verbose", "-v", is_flag=True, expose_value=False, is_eager=True, callback=_say_more,
    help="Say more, with a traceback where something fails.",
)  # fmt: skip


def depends(**needed: tuple[str, ...]) -> Decorator:
    """Options (parameters' names) that say something of others, of which one must be given; alone they are wrong usage.

    A plain decorator: it stands below the options.
    """

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def checked(*args: Any, **given: Any) -> Any:
            context = click.get_current_context()
            names = {param.name: param.opts[0] for param in context.command.params}
            for name, others in needed.items():
                told = context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE
                if told and not any(context.params[other] for other in others):
                    wanted = " or ".join(names[other] for other in others)
                    raise click.UsageError(f"{names[name]} says something of {wanted}: give that too, or leave it out")
            return function(*args, **given)

        return checked

    return decorate


nodata = option(
    "--nodata", type=float, metavar="VALUE",
    help="Stored value of pixels that hold no data, in all bands; by default what the file says.",
)  # fmt: skip
alpha_is_data = option(
    "--alpha-is-data", is_flag=True, help="A band that is tagged alpha is data (NAIP's infrared), and no mask."
)
georeference = option(
    "--georeference", type=click.Choice(["gcp", "rpc"]),
    help="Place the scene by its ground control points or RPCs, on the grid that GDAL proposes, by nearest pixels.",
)  # fmt: skip


pattern = option(
    "--pattern", metavar="GLOB", help="Of folders, only the files whose names fit, such as '*_B*.tif'.",
)  # fmt: skip
_SEARCH = ("stac_api", "collections", "datetime", "max_cloud", "limit")


def searched(argument: str, *, one: bool = False, crops: bool = False) -> Decorator:
    """Scenes by their names or by a search of a STAC API; the command gets the names of what was found.

    Args:
        argument: the parameter that holds names of scenes.
        one: whether the command takes one scene.
        crops: whether it has a --bbox of its own, which stands for the search's where there is one.
    """

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def with_found(**given: Any) -> Any:
            how = {name: given.pop(name) for name in _SEARCH}
            box = given.get("bbox") if crops else given.pop("bbox")
            names = [given[argument]] if one and given[argument] else list(given[argument] or ())
            if how["stac_api"] is None:
                _without_search(how, box, names, crops=crops)
                return function(**given)
            if names:
                raise click.UsageError("give scenes, or --stac-api to find some; not both")
            found = _found(how, box)
            if one and len(found) != 1:
                raise click.UsageError(f"the search finds {len(found)} items, and one is needed; --limit 1 takes one")
            given[argument] = found[0] if one else found
            given |= {"bbox": None} if crops else {}
            return function(**given)

        wrapped: Callable[..., Any] = with_found
        for add in _search_options(crops=crops):
            wrapped = add(wrapped)
        return wrapped

    return decorate


def _without_search(how: dict[str, Any], box: Any, names: list[Any], *, crops: bool) -> None:
    """Raises UsageError where something is said of a search that is none, or no scene is given."""
    if not names:
        raise click.UsageError("give scenes, or --stac-api to find some")
    said = [name for name in _SEARCH if how[name]] + (["bbox"] if box and not crops else [])
    if said:
        option_name = {"collections": "collection"}.get(said[0], said[0]).replace("_", "-")
        raise click.UsageError(f"--{option_name} says something of --stac-api: give that too, or leave it out")


def _found(how: dict[str, Any], box: Any) -> tuple[str, ...]:
    from geounet.sources.search import Search, search

    api, collections, datetime, max_cloud, limit = (how[name] for name in _SEARCH)
    return search(Search(api, collections, box, datetime, max_cloud, limit))


def _search_options(*, crops: bool) -> list[Decorator]:
    box = option(
        "--bbox", callback=parse_numbers(float, 4),
        help="With --stac-api: west,south,east,north in degrees, what items must touch.",
    )  # fmt: skip
    added = [
        option("--limit", type=click.IntRange(1), help="With --stac-api: most items, the newest first."),
        option(
            "--max-cloud", type=click.FloatRange(0, 100), metavar="PERCENT",
            help="With --stac-api: only items that state at most so many clouds.",
        ),
        option(
            "--datetime", metavar="TIME[/TIME]",
            help="With --stac-api: a moment, day, month or year, or a range: 2024-05/2024-07-15, 2024-05-01/...",
        ),
        option("--collection", "collections", multiple=True, metavar="NAME", help="With --stac-api: only of this one."),
        option("--stac-api", metavar="URL", help="Search this STAC API for scenes, instead of naming them."),
    ]  # fmt: skip
    return added if crops else [box, *added]


masks = option(
    "--mask", "masks", multiple=True, metavar="MASK",
    help="What hides pixels (clouds): scl, qa_pixel, BAND:3,8,9, BAND:bits:3,4, or a raster, all but 0 or with values.",
)  # fmt: skip
mask_dilate = option(
    "--mask-dilate", type=click.IntRange(min=0), default=0, show_default=True, metavar="PX",
    help="Hide so many pixels around what masks hide, too.",
)  # fmt: skip
aoi = option(
    "--aoi", type=click.Path(), metavar="FILE",
    help="Only what lies in the polygons of this file (any CRS); outside is nodata.",
)  # fmt: skip


def _metres_or_model(_ctx: click.Context, _param: click.Parameter, text: str | None) -> float | str | None:
    if text is None or text == "model":
        return text
    try:
        metres = float(text)
    except ValueError:
        metres = 0.0
    if not 0 < metres < float("inf"):
        raise click.BadParameter(f"{text!r} is neither a number of metres nor model")
    return metres


resolution = option(
    "--resolution", callback=_metres_or_model, metavar="METRES|model",
    help="Bring scenes to pixels of this size, bilinearly, while they are read; model: to those of its training.",
)  # fmt: skip


def opening(function: Callable[..., Any]) -> Callable[..., Any]:
    """How scenes are opened: a :class:`geounet.raster.opening.Opening`, handed on as `opening`."""
    names = ("nodata", "alpha_is_data", "georeference", "masks", "mask_dilate", "aoi", "resolution")

    @functools.wraps(function)
    def gathered(**given: Any) -> Any:
        from geounet.raster.opening import Opening

        return function(opening=Opening(**{name: given.pop(name) for name in names}), **given)

    wrapped: Callable[..., Any] = gathered
    for decorate in (resolution, aoi, mask_dilate, masks, georeference, alpha_is_data, nodata):
        wrapped = decorate(wrapped)
    return wrapped


radiometry = option(
    "--radiometry", type=click.Choice(["auto", "as-is", "scaled"]), default="auto", show_default=True,
    help="The scene's numbers: as statements and values agree, as they are stored, or by its scale and offset tags.",
)  # fmt: skip
layer = option("--layer", help="Layer of the polygon file, where it has several; also as FILE.gpkg:LAYER.")


def _class_map(_ctx: click.Context, _param: click.Parameter, path: Path | None) -> dict[str, int]:
    if path is None:
        return {}
    from geounet.class_tables import read_class_map

    return read_class_map(path)


class_map = option(
    "--class-map",
    type=click.Path(path_type=Path),
    callback=_class_map,
    help="CSV file with the columns from,to: the class (0 to 254) of a code or a name that polygons have.",
)


def common(function: Callable[..., Any]) -> Callable[..., Any]:
    """`-q/--quiet` and `-v/--verbose`, which every command has."""
    return quiet(verbose(function))


simplify = option(
    "--simplify",
    "simplification",
    type=click.FloatRange(min=0),
    help="Metres by which outlines may leave their course (pixels without a CRS); shared edges stay shared.",
)
smooth = option("--smooth", is_flag=True, help="Cut the corners of the pixels' stairs; shared edges stay shared.")
boundary_class = option(
    "--boundary-class", help="Class (name or value) between fields; its pixels go to the fields around it."
)

device = option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:N or mps.")
precision = option(
    "--precision", type=click.Choice(["auto", "fp32", "bf16", "fp16", "int8"]), default="auto", show_default=True,
    help="Arithmetic of the network; auto takes the fastest but int8 that keeps 99.9 % of the classes on a probe.",
)  # fmt: skip
runtime = option(
    "--runtime", type=click.Choice(["auto", "torch", "openvino"]), default="auto", show_default=True,
    help="What runs the network; auto takes OpenVINO on a CPU where it is installed.",
)  # fmt: skip
window_size = option(
    "--window-size", callback=_pixels_or_auto, default="auto", show_default=True, metavar="PIXELS|auto",
    help="What the network sees at once, halo included, in pixels.",
)  # fmt: skip
halo = option(
    "--halo", callback=_pixels_or_auto, default="auto", show_default=True, metavar="PIXELS|auto",
    help="Pixels read around what is kept, on each side; auto covers the receptive field, or what a probe shows to do.",
)  # fmt: skip

tta = option(
    "--tta", is_flag=True,
    help="Mean of the probabilities over the eight flips and rotations of each window; takes eight times as long.",
)  # fmt: skip


def engine(function: Callable[..., Any]) -> Callable[..., Any]:
    """How a prediction is run: the fields of :class:`geounet.tasks.predict.Engine`, handed on as `engine`."""
    names = ("tile_size", "window_size", "halo", "device", "precision", "runtime", "scheduler", "workers", "tta")

    @functools.wraps(function)
    def gathered(**given: Any) -> Any:
        from geounet.tasks.predict import Engine

        return function(engine=Engine(**{name: given.pop(name) for name in names}), **given)

    wrapped: Callable[..., Any] = gathered
    for decorate in (tta, workers, scheduler, runtime, precision, device, halo, window_size, tile_size):
        wrapped = decorate(wrapped)
    return wrapped


def _count(name: str, parameter: str, help_text: str) -> Decorator:
    return option(name, parameter, type=click.IntRange(min=0), default=0, show_default=True, help=help_text)


open_radius = _count(
    "--open", "open_radius", "Opening: remove what no disk of this radius (pixels) fits into; 0: none."
)
close_radius = _count(
    "--close", "close_radius", "Closing: fill gaps no disk of this radius (pixels) fits into; 0: none."
)
majority = _count(
    "--majority", "majority", "Majority: each pixel takes the commonest class within this radius (pixels); 0: none."
)
sieve = _count("--sieve", "sieve", "Give components of fewer pixels to a neighbour; 0: none.")
sieve_to = option(
    "--sieve-to", type=click.Choice(["border", "largest"]), default="border", show_default=True,
    help="Which neighbour: the one with the longest shared border, or the largest, as in GDAL.",
)  # fmt: skip
sieve_connectivity = option(
    "--sieve-connectivity", "connectivity", type=click.Choice(["4", "8"]), default="4", show_default=True,
    callback=lambda _ctx, _param, text: int(text),
    help="Components that are sieved share sides (4), or sides and corners (8).",
)  # fmt: skip
fill_holes = _count("--fill-holes", "fill_holes", "Fill holes of up to so many pixels; 0: none.")


def cleaning(function: Callable[..., Any]) -> Callable[..., Any]:
    """Steps of :class:`geounet.components.cleaning.Cleaning`, handed on as `steps`; None where none is asked for."""
    counts = ("majority", "open_radius", "close_radius", "sieve", "fill_holes")
    names = (*counts, "sieve_to", "connectivity")

    @functools.wraps(function)
    def gathered(**given: Any) -> Any:
        from geounet.components.cleaning import Cleaning

        chosen = {name: given.pop(name) for name in names}
        return function(steps=Cleaning(**chosen) if any(chosen[name] for name in counts) else None, **given)

    wrapped: Callable[..., Any] = gathered
    for decorate in (fill_holes, sieve_connectivity, sieve_to, sieve, close_radius, open_radius, majority):
        wrapped = decorate(wrapped)
    return wrapped


augment_flag = option(
    "--augment/--no-augment",
    default=True,
    show_default=True,
    help="Flip, rotate, scale, and change the values of, patches.",
)
rotate = option(
    "--rotate", type=click.FloatRange(0, 180), default=180.0, show_default=True,
    help="Augmentation: largest angle in degrees; what comes in from outside the patch is its mirror image.",
)  # fmt: skip
scale = option(
    "--scale", callback=parse_numbers(float, 2), default="0.75,1.33", show_default=True, metavar="LEAST,MOST",
    help="Augmentation: factors of size.",
)  # fmt: skip
jitter = option(
    "--jitter", type=click.FloatRange(0), default=0.1, show_default=True,
    help="Augmentation: deviation of each band's gain and offset, in standard deviations of the band.",
)  # fmt: skip
noise = option(
    "--noise", type=click.FloatRange(0), default=0.05, show_default=True,
    help="Augmentation: most noise of a pixel, in standard deviations of the band; half the patches have none.",
)  # fmt: skip
band_drop = option(
    "--band-drop", type=click.FloatRange(0, 1), default=0.0, show_default=True,
    help="Augmentation: share of the patches that lose a band.",
)  # fmt: skip


def augmentation(function: Callable[..., Any]) -> Callable[..., Any]:
    """How patches are changed: a :class:`geounet.training.augment.Augment` as `augment`; None with `--no-augment`."""

    @functools.wraps(function)
    def gathered(**given: Any) -> Any:
        from geounet.training.augment import Augment

        names = {"rotate": "rotation", **{name: name for name in ("scale", "jitter", "noise", "band_drop")}}
        chosen = {field: given.pop(name) for name, field in names.items()}
        return function(augment=Augment(**chosen) if given.pop("augment") else None, **given)

    wrapped: Callable[..., Any] = gathered
    for decorate in (band_drop, noise, jitter, scale, rotate, augment_flag):
        wrapped = decorate(wrapped)
    return wrapped


def network(function: Callable[..., Any]) -> Callable[..., Any]:
    """Which network is trained, but for the classic UNet's shape."""
    return _all_of(
        function,
        option(
            "--size",
            type=click.Choice(list(SIZES)),
            help=f"Network for maps, from the fastest to the most thorough; {DEFAULT_SIZE} where no other is named.",
        ),
        option("--arch", help="Another network: unet, the classic one, or with an encoder any of smp's."),
        option("--encoder", help="smp encoder such as resnet18, by default in a unet."),
    )


def patch(function: Callable[..., Any]) -> Callable[..., Any]:
    """What patches a training sees, and how fast it moves."""
    return _all_of(
        function,
        option("--patch-size", type=click.IntRange(16), default=256, show_default=True, help="Patch side in pixels."),
        option("--batch-size", type=click.IntRange(1), default=8, show_default=True, help="Patches a batch."),
        option("--patches", type=click.IntRange(1), help="Patches an epoch; by default 128 to 512, by the area."),
        option("--learning-rate", type=float, default=2e-3, show_default=True, help="Highest learning rate."),
        option("--seed", type=int, default=0, show_default=True, help="Seed of weights, patches and augmentation."),
    )


def _all_of(function: Callable[..., Any], *decorators: Decorator) -> Callable[..., Any]:
    """The function with options in this order."""
    for decorate in reversed(decorators):
        function = decorate(function)
    return function
