"""What is believed of a pixel that is seen at many dates, told plainly, to hold the kernels against."""

from __future__ import annotations

import numpy as np

from geounet.changes.confirmation import CONFIRMED, ENDED, NONE, PROVISIONAL

ANY = np.ones((256, 256), np.uint8)


class Believed:
    """The plain account: all observations since the last confirmation are looked at again after each of them."""

    def __init__(self, rule, watched=ANY):
        self.rule, self.watched = rule, watched
        self.baseline = self.held = self.change = self.old = None
        self.status, self.since, self.last_day = NONE, [], None

    def see(self, day, seen, sure):
        """An observation: its class (None for clouds) and its confidence."""
        if seen is None or sure < self.rule.least or day == self.last_day:
            return
        self.last_day = day
        self.since.append((day, seen, sure))
        if self.baseline is None:
            self.begin()
        elif seen == self.held:
            if self.status == CONFIRMED:
                self.change |= {"last": day, "count": self.change["count"] + 1, "sum": self.change["sum"] + sure}
            elif self.status == PROVISIONAL:
                self.reconsider()
        elif not self.confirm(day, seen):
            self.reconsider()

    def begin(self):
        if len(self.since) == self.rule.baseline:
            classes = [one for _, one, _ in self.since]
            self.baseline = max(classes, key=lambda one: (classes.count(one), -classes.index(one)))
            self.held, self.since = self.baseline, []

    def told(self, seen, sightings, confirmed):
        return {
            "before": self.held, "after": seen, "first": sightings[0][0], "confirmed": confirmed,
            "last": sightings[-1][0], "ended": 0, "count": len(sightings), "sum": sum(one[2] for one in sightings),
        }  # fmt: skip

    def confirm(self, day, seen):
        back = self.status == CONFIRMED and seen == self.change["before"]
        recent = self.since[-(self.rule.of + 1) :]
        sightings = [one for one in recent if one[1] == seen][-(self.rule.again + 1) :]
        enough = len(sightings) == self.rule.again + 1 and day - sightings[0][0] <= self.rule.days
        if not (enough and (self.watched[self.held, seen] or back)):
            return False
        if self.status == CONFIRMED:
            self.change["ended"] = sightings[0][0]
            self.old = dict(self.change)
        if back:
            self.status = ENDED
        else:
            self.status, self.change = CONFIRMED, self.told(seen, sightings, day)
        self.held, self.since = seen, []
        return True

    def reconsider(self):
        if self.status == CONFIRMED:
            return
        for place, (first, candidate, _) in enumerate(self.since):
            after = self.since[place + 1 :]
            hits = sum(one[1] == candidate for one in after)
            left = self.rule.of - len(after)
            soon = self.since[-1][0] - first <= self.rule.days
            wanted = candidate != self.held and self.watched[self.held, candidate]
            if wanted and left > 0 and hits + left >= self.rule.again and soon:
                sightings = [self.since[place], *(one for one in after if one[1] == candidate)]
                self.status, self.change = PROVISIONAL, self.told(candidate, sightings, 0)
                return
        if self.status == PROVISIONAL:
            self.status, self.change = NONE, None
