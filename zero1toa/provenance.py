"""What our files say of themselves: that they are AI-generated, by what, when, and from which settings.

One record, and the forms it takes: lines for people, values for JSON, and an XMP packet, which is what the programs of
photographers, archives and platforms look for in pictures and videos.
"""

from __future__ import annotations

from dataclasses import dataclass
from xml.sax.saxutils import escape

from zero1toa import __version__

# IPTC's term for what generative models make. A head model fitted by trained networks is the least that any avatar has.
DIGITAL_SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
STATEMENT = "AI-generated: a computer-generated head avatar of a person in a photo"

_XMP = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmlns:dc="http://purl.org/dc/elements/1.1/"
 xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/">
<Iptc4xmpExt:DigitalSourceType>{source}</Iptc4xmpExt:DigitalSourceType>
<Iptc4xmpExt:AISystemUsed>zero1toa</Iptc4xmpExt:AISystemUsed>
<Iptc4xmpExt:AISystemVersionUsed>{version}</Iptc4xmpExt:AISystemVersionUsed>
<xmp:CreatorTool>{generator}</xmp:CreatorTool>{date}
<dc:description><rdf:Alt><rdf:li xml:lang="x-default">{text}</rdf:li></rdf:Alt></dc:description>
</rdf:Description></rdf:RDF></x:xmpmeta>
<?xpacket end="r"?>"""


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where a file comes from; `version` is that of the program which made the avatar, `created` when it did (ISO 8601)."""

    version: str = __version__
    created: str = ""
    prior: str = ""
    preset: str = ""
    settings: str = ""

    @property
    def generator(self) -> str:
        """Name the program."""
        return _plain(f"zero1toa {self.version}")

    def lines(self) -> tuple[str, ...]:
        """Say it to people, in a few lines of printable text."""
        named = {"prior": self.prior, "preset": self.preset}
        how = ", ".join([*(f"{name} {value}" for name, value in named.items() if value), *filter(None, [self.settings])])
        when = f", {self.created}" if self.created else ""
        lines = (STATEMENT, f"made by {self.generator}{when}", how, f"digital source type {DIGITAL_SOURCE_TYPE}")
        return tuple(_plain(line) for line in lines if line)

    def record(self) -> dict[str, str]:
        """Say it to programs, as values for JSON."""
        return {
            "statement": STATEMENT,
            "digitalSourceType": DIGITAL_SOURCE_TYPE,
            "generator": self.generator,
            "created": self.created,
            "prior": self.prior,
            "preset": self.preset,
            "settings": self.settings,
        }

    def comment(self) -> str:
        """Say it in one line."""
        return "; ".join(self.lines())

    def xmp(self) -> str:
        """Say it as an XMP packet with the properties of the IPTC Photo Metadata Standard."""
        return _XMP.format(
            source=DIGITAL_SOURCE_TYPE,
            version=escape(_plain(self.version)),
            generator=escape(self.generator),
            date=f"\n<xmp:CreateDate>{escape(_plain(self.created))}</xmp:CreateDate>" if self.created else "",
            text=escape(self.comment()),
        )


def _plain(text: str) -> str:
    """Keep what every format can hold: settings may come from a file that anybody wrote."""
    return "".join(letter for letter in text if letter.isprintable())
