"""Every backbone by the name that metrics use. A new one is a file beside this one and a line here."""

from evaluation.backbones.backbone import Backbone

BACKBONES: dict[str, Backbone] = {}
