"""``superface inspect``: what a file says about where it comes from."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from ..errors import install_command
from .output import add_json_option, print_result

if TYPE_CHECKING:
    from ..media.inspection import Provenance

NOT_MARKED = 3  # the exit status; 1 and 2 say that there is no answer
CREDENTIALS = {
    "trusted": "signed by {signer}, a trusted signer; unchanged since",
    "intact": "signed by {signer}; unchanged since. Whether this signer can be trusted is not known here",
    "broken": "signed by {signer}, but DAMAGED OR CHANGED SINCE: the signature does not fit the file",
    "unchecked": f"there are some, but they were not checked: {install_command('c2pa')}",
}


def add_parser(commands: Any) -> None:
    parser = commands.add_parser(
        "inspect",
        help="tell whether a picture or video says that it is AI-generated",
        description="Tells whether a picture or video says that it is AI-generated, and which program made it. "
        f"Exit status: 0 it does, {NOT_MARKED} it does not, 1 the file cannot be read.",
    )
    parser.add_argument("file", help="a PNG, JPEG, WebP, MP4 or MOV file")
    add_json_option(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    from ..media.inspection import inspect_file

    provenance = inspect_file(options.file)
    print_result(options, describe(provenance), **provenance.as_dict())
    return 0 if provenance.ai_generated else NOT_MARKED


def describe(provenance: Provenance) -> str:
    """Return the text that the command prints for a provenance."""
    lines = [f"{provenance.path}: {_verdict(provenance)}"]
    if provenance.software:
        lines.append(f"  made with:    {' '.join(filter(None, (provenance.software, provenance.version)))}")
    if provenance.source_type:
        lines.append(f"  source type:  {provenance.source_type}")
        lines.append(f"  found in:     {', '.join(provenance.found_in)}")
    if provenance.credentials:
        text = CREDENTIALS[provenance.credentials.state]
        lines.append(f"  credentials:  {text.format(signer=provenance.credentials.signer or 'an unknown signer')}")
    return "\n".join(lines)


def _verdict(provenance: Provenance) -> str:
    if provenance.ours:
        return "AI-generated, made with this software."
    if provenance.ai_generated:
        return "AI-generated, not made with this software."
    return "not marked as AI-generated. That proves nothing: a mark is easily lost or removed."
