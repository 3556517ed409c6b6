"""Which point is tried next: a grid, or what optuna draws (random, TPE). The study is made anew
from the trials each time, in memory, and its sampler seeded with the trial's number: so a sweep
that was killed goes on as if it had not been, and the journal is the only thing on disk."""
import itertools

import optuna

optuna.logging.set_verbosity(optuna.logging.ERROR)


class Points:
    """axes, spec.Search, whether smaller values are better."""

    def __init__(self, axes, search, minimise):
        self.axes, self.search = axes, search
        self.direction = "minimize" if minimise else "maximize"
        self.grid = None
        if search.type == "grid":
            self.grid = list(itertools.product(*(axis.grid() for axis in axes)))
        self.distributions = {axis.key: _distribution(axis) for axis in axes}

    def count(self):
        """How many trials there will be."""
        if self.grid is None:
            return self.search.trials
        return min(len(self.grid), self.search.trials or len(self.grid))

    def next(self, trials, attempt=0):
        """The point of trial number len(trials): key -> a number or the name of a choice. A further
        attempt draws another one."""
        number = len(trials)
        if self.grid is not None:
            return dict(zip((axis.key for axis in self.axes), self.grid[number]))
        seed = (self.search.seed * 1000003 + number) * 31 + attempt
        if self.search.type == "random":
            sampler = optuna.samplers.RandomSampler(seed=seed % 2**32)
        else:
            sampler = optuna.samplers.TPESampler(seed=seed % 2**32, multivariate=True,
                                                 constant_liar=True)
        study = self.study(trials if self.search.type == "tpe" else [], sampler)
        return {key: float("%.4g" % v) if isinstance(v, float) else v
                for key, v in study.ask(self.distributions).params.items()}

    def study(self, trials, sampler=None):
        study = optuna.create_study(direction=self.direction,
                                    sampler=sampler or optuna.samplers.RandomSampler(seed=0))
        study.add_trials([frozen for frozen in map(self._frozen, trials) if frozen])
        return study

    def importance(self, trials):
        """key -> share of the values' spread that it explains (PED-ANOVA, Watanabe et al. 2023);
        empty for too few trials. Values of the first rung: all trials have them."""
        measured = [t for t in trials if t.values and t.twin is None]
        if len(measured) < 8 or len(self.axes) < 2:
            return {}
        study = optuna.create_study(direction=self.direction)
        for t in measured:
            study.add_trial(self._create(t, "COMPLETE", value=t.values[min(t.values)]))
        try:
            return optuna.importance.get_param_importances(
                study, evaluator=optuna.importance.PedAnovaImportanceEvaluator())
        except (ValueError, RuntimeError):  # all alike
            return {}

    def _create(self, t, state, **more):
        return optuna.trial.create_trial(state=optuna.trial.TrialState[state], params=t.point,
                                         distributions=self.distributions, **more)

    def _frozen(self, t):
        """A trial as optuna knows it: pruned where it stopped at a lower rung."""
        steps = {rung + 1: v for rung, v in t.values.items()}
        if t.outcome == "done":
            return self._create(t, "COMPLETE", value=t.value, intermediate_values=steps)
        if t.values:
            return self._create(t, "PRUNED", intermediate_values=steps)
        if t.outcome in ("waiting", "running"):
            return self._create(t, "RUNNING")
        if t.outcome == "diverged":  # tells TPE to stay away
            return self._create(t, "PRUNED")
        return None


def _distribution(axis):
    if not axis.is_range:
        return optuna.distributions.CategoricalDistribution(axis.names)
    if axis.whole:
        return optuna.distributions.IntDistribution(axis.low, axis.high, log=axis.log)
    return optuna.distributions.FloatDistribution(float(axis.low), float(axis.high), log=axis.log)
