"""What a record says: abusive words and echoed prompts; weak evidence, so it is ranked against trusted texts."""

from poison_guard.signals.content.echo import asks_to_repeat, copied
from poison_guard.signals.content.model import ContentModel
from poison_guard.signals.content.toxicity import toxicity

__all__ = ["ContentModel", "asks_to_repeat", "copied", "toxicity"]
