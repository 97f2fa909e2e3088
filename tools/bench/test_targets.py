"""The judging of targets: what counts as met, as missed, and as not measured. Run by the smoke step: python3 -m unittest."""

import argparse
import unittest

import targets
from scenarios import Figure, Found, Scenario, scenarios
from targets import BEST, SELF, Limit, Target, at, judge, of

FIGURES = [Figure("latency p50", ("latency_us", "p50"), "µs"), Figure("rate", ("per_second",), "req/s", less_is_better=False)]
SCENARIOS = [Scenario("small", {}, FIGURES), Scenario("other", {}, FIGURES)]


def found(**medians):
    """Runs of `small` (`other__name` of `other`): (p50, rate) of each round."""
    runs = []
    for key, rounds in medians.items():
        scenario, _, system = key.rpartition("__")
        runs += [{"scenario": scenario or "small", "system": system, "result": {"latency_us": {"p50": p50}, "per_second": rate}} for p50, rate in rounds]
    return Found(runs)


def verdict(results, figure, must, aim=None):
    return judge(results, SCENARIOS, [Target("words", "small", figure, must, aim)])[0]


class Judging(unittest.TestCase):
    def test_less_time_and_more_rate_are_better(self):
        results = found(c2l=[(100, 900)], rathole=[(110, 1000)])
        self.assertTrue(verdict(results, "latency p50", of("rathole", 1.0)).is_met)
        self.assertFalse(verdict(results, "rate", of("rathole", 1.0)).is_met)
        self.assertTrue(verdict(results, "rate", of("rathole", 0.9)).is_met)

    def test_a_figure_is_the_median_of_its_rounds(self):
        results = found(c2l=[(5, 1), (900, 1), (100, 1)])
        self.assertEqual(verdict(results, "latency p50", at(100)).measured, 100)

    def test_the_best_tunnel_is_the_best_on_that_figure_and_no_proxy(self):
        results = found(c2l=[(100, 100)], nginx=[(1, 1_000_000)], bore=[(200, 80)], wstunnel=[(150, 50)])
        self.assertEqual(verdict(results, "latency p50", of(BEST, 1.0)).must, 150)
        self.assertEqual(verdict(results, "rate", of(BEST, 1.15)).must, 1.15 * 80)

    def test_what_was_not_measured_is_neither_met_nor_missed(self):
        without_peer, without_ours = found(c2l=[(100, 100)]), found(rathole=[(100, 100)])
        for results in (without_peer, without_ours):
            judged = verdict(results, "rate", of("rathole", 1.0), of(BEST, 1.0))
            self.assertIsNone(judged.is_met)
            self.assertIsNone(judged.is_aim_met)
        self.assertIsNone(verdict(without_peer, "rate", None).is_met)

    def test_a_limit_may_come_from_another_scenario_and_add_to_it(self):
        results = found(c2l=[(100, 1)], other__c2l=[(90, 1)], other__direct=[(10, 1)])
        self.assertAlmostEqual(verdict(results, "latency p50", of(SELF, 1.2, on="other")).must, 108)
        self.assertAlmostEqual(verdict(results, "latency p50", Limit(1.0, "direct", 80, "other")).must, 90)

    def test_every_target_names_a_scenario_and_a_figure_that_exist(self):
        options = argparse.Namespace(seconds=1.0, smoke=False, agents=[1000, 10_000])
        every = scenarios(options)
        self.assertEqual(len(judge(Found([]), every)), len(targets.TARGETS))
        known = {scenario.name for scenario in every}
        limits = [limit for target in targets.TARGETS for limit in (target.must, target.aim) if limit]
        self.assertLessEqual({limit.on for limit in limits if limit.on}, known)


if __name__ == "__main__":
    unittest.main()
