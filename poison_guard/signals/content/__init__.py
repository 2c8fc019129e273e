"""What a record says: abusive words and echoed prompts; weak evidence, so it is ranked against trusted texts."""

from poison_guard.signals.content.model import ContentModel, asks_to_repeat, copied_share, fit, toxicity

__all__ = ["ContentModel", "asks_to_repeat", "copied_share", "fit", "toxicity"]
