"""What can go wrong, as one small family: every message carries the numbers and the remedy."""


class GeounetError(Exception):
    """The work cannot be done; the message is one sentence that a user can act on."""


def one_line(error: BaseException, longest: int = 200) -> str:
    """What an error says, as a part of a sentence."""
    text = " ".join(str(error).split())
    return text if len(text) <= longest else f"{text[:longest]}…"


class SceneError(GeounetError):
    """A raster cannot be opened or read, or does not fit what is asked of it."""


class NothingFoundError(SceneError):
    """A source can be looked at, and holds no scene."""


class UnreachableError(SceneError):
    """A server does not answer, refuses, or breaks off; what was finished stays good for another try."""


class ModelError(GeounetError):
    """A file is no model file, or a model cannot be built or used."""


class LabelError(GeounetError):
    """Labels or class tables are missing, empty, or do not match the images."""


class OutputError(GeounetError):
    """An output exists, cannot be written, or belongs to other work."""
