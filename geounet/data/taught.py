"""Scenes with a teacher's answers: what a student network learns from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from geounet.data.labels import Pair
from geounet.data.sampling import SceneDataset
from geounet.models.losses import IGNORE_INDEX

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from geounet.data.sampling import GeoSlice
    from geounet.raster.scene import Scene


class TaughtDataset:
    """Samples of a dataset with soft labels; labels count only where people made them.

    Args:
        images: scenes with labels: people's, or a teacher's where nobody made any.
        answers: of each of its items, the probabilities of all classes on the scene's own pixels.
        labelled: the items whose labels are people's.
    """

    def __init__(self, images: SceneDataset, answers: Sequence[Scene], labelled: Collection[int] = ()) -> None:
        self.images, self.labelled = images, frozenset(labelled)
        self.planes = len(answers[0].bands)
        pairs = [Pair(answer, answer, region=region) for answer, region in zip(answers, images.regions, strict=True)]
        self.answers = SceneDataset(pairs, [0.0] * self.planes, [1.0] * self.planes)

    def __getitem__(self, query: GeoSlice) -> dict[str, Any]:
        """As of :class:`geounet.data.sampling.SceneDataset`.

        Returns:
            Also `soft` (classes, height, width) float32, the probabilities, 0 where there is no answer; `mask` is 255
            throughout where nobody made labels.
        """
        item, window = self.images.locate(query)
        sample = dict(self.images[query])
        answer = self.answers[self.answers.query(item, window)]
        sample["soft"] = answer["image"]
        sample["valid"] = sample["valid"] & answer["valid"]
        if item not in self.labelled:
            sample["mask"].fill_(IGNORE_INDEX)
        return sample
