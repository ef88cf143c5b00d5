"""What this package makes says that it is AI-generated, and says so when asked; nothing else is claimed of any file."""

from __future__ import annotations

import datetime
import json
import os
import struct
import sys

import av
import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from superface_hf import MediaError, Motion, ProvenanceError, TalkingFaceClip, cli, inspect_file
from superface_hf.media import Mp4Writer, VideoReader, load_picture, save_picture, write_mp4
from superface_hf.media.label import labelled
from superface_hf.provenance import credentials
from superface_hf.provenance.marks import RDF, SOURCE_TYPE, VOCABULARY, XMP_UUID, xmp_packet
from superface_hf.utils.assets import PORTRAIT
from superface_hf.version import __version__

FRAMES = np.random.default_rng(0).integers(0, 255, (6, 64, 96, 3), np.uint8)
TONE = (0.4 * np.sin(np.arange(3840) / 6)).astype(np.float32)  # as long as the frames, at 16 kHz


def inspect(*arguments: object) -> int:
    return cli.main(["inspect", *map(str, arguments)])


@pytest.fixture(params=["clip.mp4", "clip.mov", "picture.png", "picture.jpg", "picture.webp"])
def made(request, tmp_path):
    """A file of each kind, as the package writes it."""
    return write(tmp_path / request.param)


def write(path):
    if path.suffix in (".mp4", ".mov"):
        write_mp4(path, FRAMES, 25, TONE, 16000)
    else:
        save_picture(path, FRAMES[0])
    return path


class TestMarks:
    def test_every_file_says_who_made_it_and_how(self, made):
        provenance = inspect_file(made)
        assert provenance.ours
        assert provenance.ai_generated
        assert (provenance.software, provenance.version) == ("superface-hf", __version__)
        assert provenance.source_type == "compositeWithTrainedAlgorithmicMedia"
        assert "xmp" in provenance.found_in

    def test_a_clip_that_is_saved_is_marked(self, tmp_path):
        TalkingFaceClip(FRAMES, 25, Motion.neutral(6, 25)).save(tmp_path / "clip.mp4")
        assert inspect_file(tmp_path / "clip.mp4").ours

    def test_what_the_pipeline_writes_is_marked(self, quick_pipe, scene, tmp_path):
        quick_pipe.write(tmp_path / "out.mp4", scene, motion=Motion.neutral(2, 25))
        assert inspect_file(tmp_path / "out.mp4").ours

    def test_marked_files_show_the_same_as_before(self, tmp_path):
        picture = write(tmp_path / "picture.png")
        assert np.array_equal(load_picture(picture), FRAMES[0])
        video = VideoReader(write(tmp_path / "clip.mp4"))
        assert len(list(video)) == len(FRAMES)
        assert np.abs(video.sound().samples).max() == pytest.approx(0.4, abs=0.05)

    def test_other_programs_find_the_mark_where_they_look(self, tmp_path):
        """XMP as Pillow and ffmpeg read it, with IPTC's names, and a sentence that people find in a player."""
        with av.open(str(write(tmp_path / "clip.mp4")), options={"export_xmp": "1"}) as container:
            tags = dict(container.metadata)
        with Image.open(write(tmp_path / "picture.png")) as image:
            texts = dict(image.text)
        for xmp in (tags["xmp"], texts["XML:com.adobe.xmp"]):
            assert f'Iptc4xmpExt:DigitalSourceType="{VOCABULARY}{SOURCE_TYPE}"' in xmp
        assert tags["comment"] == texts["Comment"]
        assert tags["comment"].startswith("AI-generated")
        assert tags["encoder"] == texts["Software"] == f"superface-hf {__version__}"

    def test_the_comment_alone_is_enough(self, tmp_path):
        """As in a video that another program copied into a new file without the XMP."""
        with av.open(str(write(tmp_path / "clip.mp4"))) as source, av.open(str(tmp_path / "copy.mp4"), "w") as copy:
            copy.metadata["comment"] = source.metadata["comment"]
            stream = copy.add_stream_from_template(source.streams.video[0])
            for packet in source.demux(video=0):
                if packet.dts is not None:
                    packet.stream = stream
                    copy.mux(packet)
        provenance = inspect_file(tmp_path / "copy.mp4")
        assert provenance.ours
        assert provenance.found_in == ("comment",)

    def test_a_failed_write_leaves_nothing_behind(self, tmp_path, monkeypatch):
        def full(_path, _packet):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("superface_hf.provenance.marks.append_xmp", full)
        with pytest.raises(MediaError, match="No space left"):
            write(tmp_path / "clip.mp4")
        assert list(tmp_path.iterdir()) == []


class TestInspect:
    def test_the_status_tells_scripts(self, made, capsys):
        assert inspect(made) == 0
        out = capsys.readouterr().out
        assert "AI-generated, made with this software" in out
        assert f"superface-hf {__version__}" in out

    def test_json_holds_everything(self, made, capsys):
        assert inspect("--json", made) == 0
        told = json.loads(capsys.readouterr().out)
        assert told["file"] == str(made)
        assert told["ours"] is told["ai_generated"] is True
        assert told["version"] == __version__
        assert told["credentials"] is None

    @pytest.mark.parametrize("options", [[], ["--json"]])
    def test_a_photograph_is_not_called_generated(self, options, capsys):
        assert inspect(PORTRAIT, *options) == 3
        out = capsys.readouterr().out
        if options:
            assert json.loads(out)["ai_generated"] is False
        else:
            assert "not marked" in out
            assert "proves nothing" in out

    def test_a_video_of_others_is_not_ours(self, tmp_path):
        with av.open(str(tmp_path / "v.mp4"), "w") as container:
            container.metadata["comment"] = "my holiday, not made with superface-hf"
            stream = container.add_stream("libx264", rate=25)
            stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
            container.mux(stream.encode(av.VideoFrame.from_ndarray(FRAMES[0, :, :64], format="rgb24")))
            container.mux(stream.encode(None))
        provenance = inspect_file(tmp_path / "v.mp4")
        assert not provenance.ours
        assert not provenance.ai_generated

    def test_marks_of_other_programs_are_understood(self, tmp_path, capsys):
        """Written as elements, where ours are attributes."""
        info = PngInfo()
        info.add_itxt(
            "XML:com.adobe.xmp",
            f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="{RDF}"><rdf:Description rdf:about="" '
            'xmlns:e="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" xmlns:m="http://ns.adobe.com/xap/1.0/">'
            f"<e:DigitalSourceType>{VOCABULARY}trainedAlgorithmicMedia</e:DigitalSourceType>"
            "<m:CreatorTool>Other Painter 3</m:CreatorTool></rdf:Description></rdf:RDF></x:xmpmeta>",
        )
        Image.fromarray(FRAMES[0]).save(tmp_path / "p.png", pnginfo=info)
        assert inspect(tmp_path / "p.png") == 0
        out = capsys.readouterr().out
        assert "not made with this software" in out
        assert "Other Painter 3" in out

    def test_an_honest_camera_is_no_generator(self, tmp_path):
        packet = xmp_packet().replace(SOURCE_TYPE.encode(), b"digitalCapture")
        Image.fromarray(FRAMES[0]).save(tmp_path / "p.jpg", xmp=packet)
        provenance = inspect_file(tmp_path / "p.jpg")
        assert provenance.source_type == "digitalCapture"
        assert not provenance.ai_generated

    @pytest.mark.parametrize(
        "packet",
        [
            b"no xml at all",
            b"<x:xmpmeta",
            b"\xff\xfe\x00",
            b'<!DOCTYPE x [<!ENTITY a "aaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]><x>&b;</x>',
            b"<x>" * 100_000,
        ],
    )
    def test_a_strange_packet_says_nothing_and_harms_nothing(self, tmp_path, packet):
        video = write(tmp_path / "clip.mp4")
        data = video.read_bytes()
        start = data.index(XMP_UUID) - 8
        content = XMP_UUID + packet
        video.write_bytes(data[:start] + struct.pack(">I4s", 8 + len(content), b"uuid") + content)
        assert inspect_file(video).found_in == ("comment",)

    @pytest.mark.parametrize(
        ("name", "content"),
        [
            ("missing.png", None),
            ("empty.mp4", b""),
            ("text.mp4", b"these are words, and not a video" * 9),
            ("stub.png", b"\x89PNG\r\n\x1a\n" + b"\0" * 40),
            ("stub.jpg", b"\xff\xd8\xff" + b"\0" * 40),
            ("stub.webp", b"RIFF\x20\0\0\0WEBP" + b"\0" * 40),
            ("stub.mp4", b"\0\0\0\x18ftypisom" + b"\0" * 40),
        ],
    )
    def test_what_cannot_be_read_is_one_clear_error(self, tmp_path, name, content, capsys):
        if content is not None:
            (tmp_path / name).write_bytes(content)
        assert inspect(tmp_path / name) == 1
        shown = capsys.readouterr()
        assert shown.out == ""
        assert name in shown.err
        assert len(shown.err.splitlines()) == 1

    @pytest.mark.parametrize("part", [0.3, 0.7, 0.95])
    def test_a_file_that_is_cut_off_is_damaged(self, made, part):
        data = made.read_bytes()
        made.write_bytes(data[: int(len(data) * part)])
        with pytest.raises(MediaError):
            inspect_file(made)

    def test_a_folder_is_no_file(self, tmp_path, capsys):
        assert inspect(tmp_path) == 1
        assert "is a folder" in capsys.readouterr().err


class TestTheVisibleLabel:
    @pytest.mark.parametrize("size", [(16, 16), (20, 300), (64, 96), (480, 640), (1080, 1920)])
    def test_it_stands_in_the_corner_and_nowhere_else(self, size):
        frame = np.full((*size, 3), 120, np.uint8)
        result = labelled(frame)
        changed = (result != frame).any(-1)
        assert (frame == 120).all()  # what was given is not written to
        assert changed.any()
        if min(size) >= 64:
            assert not changed[: size[0] // 2].any()
            assert result[changed].max() > 240  # white letters
            assert result[changed].min() < 80  # on a dark ground
        if min(size) >= 480:
            assert changed.mean() < 0.03

    def test_it_grows_with_the_picture(self):
        heights = [
            (labelled(np.full((side, side, 3), 120, np.uint8)) != 120).any((1, 2)).sum() / side
            for side in (512, 1024, 2048)
        ]
        assert max(heights) < 1.1 * min(heights)

    def test_clips_and_pictures_carry_it_when_asked(self, tmp_path):
        grey = np.full((6, 128, 192, 3), 120, np.uint8)
        TalkingFaceClip(grey, 25, Motion.neutral(6, 25)).save(tmp_path / "clip.mp4", label=True)
        save_picture(tmp_path / "picture.png", grey[0], label=True)
        for shown in [*VideoReader(tmp_path / "clip.mp4"), load_picture(tmp_path / "picture.png")]:
            assert shown[-40:, :60].max() > 200
            assert np.abs(shown[:60].astype(int) - 120).max() < 6


@pytest.fixture(scope="module")
def identity():
    """A certificate with its issuer's, and the key, PEM: as an authority would give them out, but of nobody's trust."""
    pytest.importorskip("c2pa", reason="content credentials are optional")
    return issue()


def issue() -> tuple[str, str]:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    now = datetime.datetime.now(datetime.UTC)
    usages = (
        "digital_signature content_commitment key_encipherment data_encipherment key_agreement key_cert_sign crl_sign"
    )
    certificates = []
    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(2)]
    names = [
        x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, name), x509.NameAttribute(NameOID.COMMON_NAME, name)])
        for name in ("Test Authority", "Test Studio")
    ]
    for index, use in enumerate(("key_cert_sign", "digital_signature")):
        allowed = {**dict.fromkeys([*usages.split(), "encipher_only", "decipher_only"], False), use: True}
        certificate = (
            x509.CertificateBuilder()
            .subject_name(names[index])
            .issuer_name(names[0])
            .public_key(keys[index].public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(index == 0, None), True)
            .add_extension(x509.KeyUsage(**allowed), True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(keys[index].public_key()), False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(keys[0].public_key()), False)
        )
        if index:
            certificate = certificate.add_extension(
                x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), False
            )
        certificates.append(certificate.sign(keys[0], hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    key = keys[1].private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return b"".join(reversed(certificates)).decode(), key.decode()


@pytest.fixture
def signing(identity, monkeypatch):
    """The environment of someone who signs."""
    certificate, key = identity
    monkeypatch.setenv(credentials.CERTIFICATE, certificate)
    monkeypatch.setenv(credentials.KEY, key)


class TestContentCredentials:
    def test_files_are_signed_where_a_certificate_is_given(self, signing, made, capsys):
        provenance = inspect_file(made)
        assert provenance.ours
        assert set(provenance.found_in) >= {"xmp", "credentials"}
        assert provenance.credentials == credentials.ContentCredentials(
            "intact", "Test Studio", "superface-hf", SOURCE_TYPE
        )
        assert inspect(made) == 0
        assert "signed by Test Studio; unchanged since" in capsys.readouterr().out
        assert os.listdir(made.parent) == [made.name]  # noqa: PTH208 - names only

    def test_a_signed_video_plays_as_before(self, signing, tmp_path):
        video = VideoReader(write(tmp_path / "clip.mp4"))
        assert len(list(video)) == len(FRAMES)
        assert np.abs(video.sound().samples).max() == pytest.approx(0.4, abs=0.05)

    def test_a_change_after_signing_is_noticed(self, signing, tmp_path, capsys):
        video = write(tmp_path / "clip.mp4")
        data = bytearray(video.read_bytes())
        place = data.index(b"mdat") + 400
        data[place : place + 8] = bytes(byte ^ 255 for byte in data[place : place + 8])
        video.write_bytes(data)
        assert inspect_file(video).credentials.state == "broken"
        assert inspect(video) == 0  # the mark is still there
        assert "CHANGED SINCE" in capsys.readouterr().out

    def test_certificate_and_key_may_be_files(self, identity, tmp_path, monkeypatch):
        for variable, text in zip((credentials.CERTIFICATE, credentials.KEY), identity, strict=True):
            (tmp_path / variable).write_text(text)
            monkeypatch.setenv(variable, str(tmp_path / variable))
        assert inspect_file(write(tmp_path / "picture.png")).credentials.state == "intact"

    def test_without_the_library_credentials_are_seen_but_not_checked(self, signing, made, monkeypatch, capsys):
        monkeypatch.setattr(credentials, "find_spec", lambda name: None)
        assert inspect_file(made).credentials == credentials.ContentCredentials("unchecked")
        assert inspect(made) == 0
        assert "pip install '.[c2pa]'" in capsys.readouterr().out

    @pytest.mark.parametrize(
        ("change", "says"),
        [
            ({"certificate": ""}, "SUPERFACE_C2PA_CERT is not"),
            ({"key": ""}, "SUPERFACE_C2PA_KEY is not"),
            ({"certificate": "/no/such/file.pem"}, "SUPERFACE_C2PA_CERT names cannot be read"),
            ({"key": "-----BEGIN PRIVATE KEY-----\nAAAA"}, "no private key"),
            ({"certificate": "-----BEGIN CERTIFICATE-----\nAAAA"}, "no certificate"),
            ({"key": "another"}, "does not belong"),
        ],
    )
    def test_an_unusable_certificate_is_found_before_the_work(self, identity, tmp_path, monkeypatch, change, says):
        certificate, key = (
            change.get(name, given) for name, given in zip(("certificate", "key"), identity, strict=True)
        )
        monkeypatch.setenv(credentials.CERTIFICATE, certificate)
        monkeypatch.setenv(credentials.KEY, issue()[1] if key == "another" else key)
        for attempt in (lambda: Mp4Writer(tmp_path / "clip.mp4", 25), lambda: write(tmp_path / "picture.png")):
            with pytest.raises(ProvenanceError, match=says) as raised:
                attempt()
            assert "BEGIN" not in str(raised.value)  # nothing of a key is ever shown
        assert list(tmp_path.iterdir()) == []

    def test_a_missing_library_is_found_before_the_work(self, tmp_path, monkeypatch):
        monkeypatch.setenv(credentials.CERTIFICATE, "cert.pem")
        monkeypatch.setenv(credentials.KEY, "key.pem")
        monkeypatch.setattr(credentials, "find_spec", lambda name: None)
        with pytest.raises(ProvenanceError, match=r"\.\[c2pa\]"):
            Mp4Writer(tmp_path / "clip.mp4", 25)

    def test_a_self_signed_certificate_is_refused_before_the_work(self, identity, tmp_path, monkeypatch):
        """It could be anybody's, so the standard forbids it."""
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization

        key = serialization.load_pem_private_key(identity[1].encode(), None)
        name = x509.Name([x509.NameAttribute(x509.oid.NameOID.COMMON_NAME, "Self Made")])
        now = datetime.datetime.now(datetime.UTC)
        own = (
            x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .sign(key, hashes.SHA256())
        )
        monkeypatch.setenv(credentials.CERTIFICATE, own.public_bytes(serialization.Encoding.PEM).decode())
        monkeypatch.setenv(credentials.KEY, identity[1])
        with pytest.raises(ProvenanceError, match="not self-signed"):
            Mp4Writer(tmp_path / "clip.mp4", 25)

    @pytest.mark.parametrize("name", ["clip.mp4", "picture.png"])
    def test_an_error_while_signing_leaves_nothing_behind(self, signing, tmp_path, monkeypatch, name):
        def full(_self, _mime_type, _source, target):
            target.write(b"a part")
            raise OSError(28, "No space left on device")

        assert credentials.Signer.from_environment() is not None
        monkeypatch.setattr(credentials.Signer, "copy_signed", full)
        with pytest.raises(MediaError, match="No space left"):
            write(tmp_path / name)
        assert list(tmp_path.iterdir()) == []

    def test_nobody_pays_for_what_they_do_not_use(self, tmp_path, monkeypatch):
        monkeypatch.setitem(sys.modules, "c2pa", None)  # importing it would fail
        monkeypatch.delenv(credentials.CERTIFICATE, raising=False)
        monkeypatch.delenv(credentials.KEY, raising=False)
        assert inspect_file(write(tmp_path / "clip.mp4")).ours
        assert inspect_file(write(tmp_path / "picture.png")).ours
