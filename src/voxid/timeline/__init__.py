"""Who spoke when: windows of speech -> clusters -> turns; transcripts with names. No torch."""

from voxid.timeline.values import Timeline, TimelineSpeaker, Turn

__all__ = ["Timeline", "TimelineSpeaker", "Turn"]
