"""What an agency's dashboard shows: its figures for a month, and what happened last."""

from haven.insight.activity import activity
from haven.insight.figures import stats

__all__ = ["activity", "stats"]
