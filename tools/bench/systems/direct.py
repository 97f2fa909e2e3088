"""No proxy: what the upstream and the callers take by themselves."""

from stage import System

NEEDS = []


def start(stage, path):
    return System("direct", path(stage.upstream, is_upstream=True))
