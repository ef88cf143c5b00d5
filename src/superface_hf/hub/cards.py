"""Write model cards by filling in the templates of ``model_cards/``.

A template holds the Hub's metadata that is the same for every checkpoint of a model (licence, task, tags) and extends
``base.md``, which all share. The maker of a checkpoint adds its :class:`CardFacts`.
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
# From a clone: the package is on no index yet. Cards without this line get it added.
INSTALL = "pip install ./superface-hf"


@dataclass(frozen=True)
class CardFacts:
    """The facts of a model card that only the maker of a checkpoint knows.

    Attributes:
        made: how it was made: data, commands, time (Markdown).
        base_model: the Hub id of the model it was made from.
        metrics: measured results, which also appear in the Hub's table.
        person: the person it shows, if it shows one.
        consent: what that person, or their legal representative, agreed to, in words that they would sign.
        pictures: sample pictures, as paths inside the repository.
    """

    made: str | None = None
    base_model: str | None = None
    metrics: tuple[EvalResult, ...] = ()
    person: str | None = None
    consent: str | None = None
    pictures: tuple[str, ...] = ()


def make_card(model: PreTrainedModel, repo_id: str, facts: CardFacts | None = None) -> ModelCard:
    """Return the card of a model from its template; a model without its own template gets the shared one."""
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
    """Return a written card, completed with missing metadata and with how to install the code that loads the model."""
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
    """Add tags that the card does not have yet."""
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
    """Return the card's metadata with its true type."""
    return cast("ModelCardData", card.data)


def _section(text: str, title: str) -> str:
    """Return a section of a card, up to the next one."""
    start = text.index(f"## {title}\n")
    end = text.find("\n## ", start + 1)
    return text[start : end if end > 0 else len(text)].rstrip()
