"""Who spoke when: windows of speech -> clusters -> turns; transcripts with names. No torch."""

from voxid.timeline.values import Correction, Timeline, TimelineSpeaker, Turn

__all__ = ["Correction", "Timeline", "TimelineSpeaker", "Turn"]
