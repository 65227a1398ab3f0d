"""Who spoke when: windows of speech -> clusters -> turns; transcripts with names. No torch."""

from voxid.timeline.values import Change, Timeline, TimelineSpeaker, Turn

__all__ = ["Change", "Timeline", "TimelineSpeaker", "Turn"]
