"""Who is trained next, and how far: asynchronous successive halving (ASHA; Li et al., A System for
Massively Parallel Hyperparameter Tuning, MLSys 2020) over one bracket, or over those of Hyperband
(Li et al., JMLR 2018). Promotion goes on from the trial's own checkpoint.

Pure bookkeeping: the same trials give the same answer."""
import hashlib


def rungs_of(low, high, factor):
    """Budgets low, low * factor, ... and at last high."""
    budgets = []
    while low < high:
        budgets.append(low)
        low *= factor
    return budgets + [high]


class Brackets:
    """prune: spec.Prune, its max set. better(a, b): value a is better."""

    def __init__(self, prune, better):
        self.factor, self.better = prune.factor, better
        budgets = [prune.max] if prune.type == "none" else rungs_of(
            prune.min, prune.max, prune.factor)
        count = len(budgets) if prune.type == "hyperband" else 1
        self.brackets = [budgets[first:] for first in range(count)]
        # Hyperband gives each bracket about the same work: n_s ~ (s_max + 1) / (s + 1) * factor^s,
        # s the number of rungs above the first.
        tops = [len(b) - 1 for b in self.brackets]
        self.weights = [len(budgets) / (s + 1) * self.factor**s for s in tops]

    def bracket_of(self, seed, number):
        """The bracket of a new trial: drawn by the weights, the same for the same number."""
        total = sum(self.weights)
        digest = hashlib.sha256(b"%d %d" % (seed, number)).digest()
        at = int.from_bytes(digest[:6], "big") / 2**48 * total
        for i, weight in enumerate(self.weights):
            at -= weight
            if at < 0:
                return i
        return len(self.weights) - 1

    def budget(self, bracket, rung):
        return self.brackets[bracket][rung]

    def is_top(self, bracket, rung):
        return rung == len(self.brackets[bracket]) - 1

    def promotable(self, trials):
        """The trial to train on to its next rung, of those that wait: the highest rung first, the
        best there first; None when no rung has any to give."""
        for rung in range(max(len(b) for b in self.brackets) - 2, -1, -1):
            found = [t for i, b in enumerate(self.brackets) if rung < len(b) - 1
                     for t in self._of_rung(i, rung, trials)]
            best = None
            for t in found:
                if best is None or self.better(t.values[rung], best.values[rung]):
                    best = t
            if best:
                return best
        return None

    def _of_rung(self, bracket, rung, trials):
        """The 1/factor best of those measured at a rung, less those that went on."""
        here = [t for t in trials if t.bracket == bracket and rung in t.values]
        here = _sorted(here, rung, self.better)[:len(here) // self.factor]
        return [t for t in here if t.rung == rung and t.outcome == "paused"]


def _sorted(trials, rung, better):
    up = better(1, 0)
    return sorted(trials, key=lambda t: (-t.values[rung] if up else t.values[rung], t.number))
