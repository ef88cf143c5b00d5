"""Model cards: the templates of ``model_cards/`` filled in.

A template holds the Hub's metadata that is the same for every checkpoint of a model (licence, task, tags) and extends
``base.md``, which all share. What only the maker of a checkpoint knows comes as :class:`CardFacts`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from huggingface_hub import EvalResult, ModelCard, ModelCardData
    from transformers import PreTrainedModel

TEMPLATES = Path(__file__).parent.parent / "model_cards"
# From a clone: the package is on no index yet. Cards that people wrote are searched for this line.
INSTALL = "pip install ./superface-hf"


@dataclass(frozen=True)
class CardFacts:
    """What only the maker of a checkpoint knows.

    Attributes:
        made: how it came about: data, commands, time (Markdown).
        base_model: the Hub id of the model it was made from.
        metrics: what was measured, for the Hub's table as well.
        person: whom it shows, if it is one person's.
        consent: what that person, or who may speak for them, agreed to, in words they would sign.
        pictures: sample pictures, as paths inside the repository.
    """

    made: str | None = None
    base_model: str | None = None
    metrics: tuple[EvalResult, ...] = ()
    person: str | None = None
    consent: str | None = None
    pictures: tuple[str, ...] = ()


def make_card(model: PreTrainedModel, repo_id: str, facts: CardFacts | None = None) -> ModelCard:
    """The card of a model from its template; a model without a template of its own gets the shared one."""
    import jinja2
    from huggingface_hub import ModelCard

    facts = facts or CardFacts()
    own = f"{model.config.model_type.removeprefix('superface_')}.md"
    templates = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES), trim_blocks=True, undefined=jinja2.StrictUndefined
    )
    text = templates.select_template([own, "base.md"]).render(
        repo_id=repo_id,
        name=repo_id.split("/")[-1],
        model_class=type(model).__name__,
        config=model.config,
        parameters=f"{model.num_parameters() / 1e6:.2f} million",
        install=INSTALL,
        facts=facts,
    )
    card = ModelCard(text.rstrip() + "\n")
    _add_facts(card, repo_id, facts)
    return card


def complete_card(text: str, model: PreTrainedModel, repo_id: str, facts: CardFacts | None = None) -> ModelCard:
    """A card that somebody wrote, with what it lacks: metadata, and how to install what loads the model."""
    from huggingface_hub import ModelCard

    written = ModelCard(text)
    template = make_card(model, repo_id, facts)
    for key, value in template.data.to_dict().items():
        if key not in ("model-index", "tags") and not getattr(written.data, key, None):
            setattr(written.data, key, value)
    add_tags(written, _data(template).tags or [])
    _add_facts(written, repo_id, facts or CardFacts())
    if INSTALL not in written.text:
        written.text = f"{written.text.rstrip()}\n\n{_section(template.text, 'Load it')}\n"
    if "## The people shown" not in written.text:
        written.text = f"{written.text.rstrip()}\n\n{_section(template.text, 'The people shown')}\n"
    return written


def add_tags(card: ModelCard, tags: Iterable[str]) -> None:
    """Adds tags that the card does not have yet."""
    data = _data(card)
    data.tags = list(dict.fromkeys([*(data.tags or []), *tags]))


def _add_facts(card: ModelCard, repo_id: str, facts: CardFacts) -> None:
    data = _data(card)
    if facts.base_model:
        data.base_model = facts.base_model
    if facts.metrics:
        data.model_name = repo_id.split("/")[-1]
        data.eval_results = list(facts.metrics)


def _data(card: ModelCard) -> ModelCardData:
    """The metadata, as what it is."""
    return cast("ModelCardData", card.data)


def _section(text: str, title: str) -> str:
    """A section of a card, up to the next one."""
    start = text.index(f"## {title}\n")
    end = text.find("\n## ", start + 1)
    return text[start : end if end > 0 else len(text)].rstrip()
