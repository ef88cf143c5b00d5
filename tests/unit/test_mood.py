"""A text's emotion, by a text classifier of the caller's choice."""

from __future__ import annotations

import pytest

from superface_hf import MotionError, SuperFaceError
from superface_hf.cli import build_parser
from superface_hf.commands.generate import emotion_of
from superface_hf.drivers.mood import LABELS, emotion_of_text, is_classifier
from superface_hf.models.speech_to_motion.motion_statistics import MotionStatistics
from superface_hf.pipelines.request import Request
from superface_hf.pipelines.speech_to_motion import SpeechToMotionPipeline

TONE = {"audio": [0.1] * 1600, "sampling_rate": 16000}


def saying(*pairs: tuple[str, float]):
    return lambda text: [[{"label": label, "score": score} for label, score in pairs]]


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ([("joy", 0.9), ("anger", 0.05)], {"happiness": 0.9}),
        ([("Anger", 0.4), ("annoyance", 0.3), ("neutral", 0.3)], {"anger": pytest.approx(0.7)}),
        ([("joy", 0.4), ("surprise", 0.4)], {}),  # neither is certain
        ([("sadness", 0.99)], {}),  # a face cannot show it here
        ([("POSITIVE", 1.0)], {"happiness": 1.0}),
    ],
)
def test_likely_emotions_are_shown_as_far_as_they_are_likely(said, shown):
    assert emotion_of_text("x", saying(*said)) == shown


def test_a_classifier_of_other_things_is_refused():
    with pytest.raises(SuperFaceError, match="does not name emotions"):
        emotion_of_text("x", saying(("LABEL_0", 0.9)))
    with pytest.raises(SuperFaceError, match="failed on 'x'"):
        emotion_of_text("x", lambda text: 1 / 0)
    with pytest.raises(SuperFaceError, match="cannot be loaded"):
        emotion_of_text("x", "nobody/nothing")


def test_emotions_are_no_classifiers(tmp_path, monkeypatch):
    assert not is_classifier("happiness")
    assert not is_classifier({"happiness": 0.5})
    assert not is_classifier(None)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "anger").mkdir()
    assert not is_classifier("anger")  # whatever folders there are
    assert is_classifier("org/model")
    assert is_classifier(str(tmp_path))


def test_the_emotions_are_those_that_the_diffusion_knows():
    statistics = MotionStatistics.from_pretrained(SpeechToMotionPipeline.embedded_folder / "statistics")
    assert set(LABELS) == set(statistics.config.emotions)


def test_a_request_asks_the_classifier_for_its_text():
    heard = []

    def classify(text):
        heard.append(text)
        return [{"label": "surprise", "score": 0.8}]

    request = Request(text="Oh!", tts=lambda text: TONE, emotion=classify)
    assert heard == ["Oh!"]
    assert request.performance.emotion == {"surprise": 0.8}
    with pytest.raises(MotionError, match="needs text="):
        Request(audio="speech.wav", emotion=classify)


@pytest.mark.e2e
def test_a_pipeline_of_transformers_is_a_classifier(tmp_path):
    """Its weights are random: what is looked at is that its labels and scores arrive."""
    from transformers import BertConfig, BertForSequenceClassification, BertTokenizerFast, pipeline

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "what", "a", "day"]
    (tmp_path / "vocab.txt").write_text("\n".join(words))
    config = BertConfig(
        vocab_size=len(words), hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8,
        id2label={0: "joy", 1: "neutral"}, label2id={"joy": 0, "neutral": 1},
    )  # fmt: skip
    model, tokenizer = BertForSequenceClassification(config).eval(), BertTokenizerFast(str(tmp_path / "vocab.txt"))
    model.classifier.bias.data[:] = model.classifier.bias.new_tensor([4.0, 0.0])
    classifier = pipeline("text-classification", model=model, tokenizer=tokenizer, top_k=None)
    assert emotion_of_text("what a day", classifier)["happiness"] > 0.9
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    assert emotion_of_text("what a day", str(tmp_path))["happiness"] > 0.9


def test_the_command_takes_emotions_or_one_classifier(capsys):
    def asked(*said: str):
        options = build_parser().parse_args(["generate", "photo.jpg", "--text", "hi", "-o", "o.mp4", *said])
        return emotion_of(options)

    assert asked() is None
    assert asked("--emotion", "happiness=0.6", "--emotion", "anger") == {"happiness": 0.6, "anger": 1.0}
    assert asked("--emotion", "org/model") == "org/model"
    for wrong, told in ((["happiness=much"], "happiness=0.6"), (["org/model", "anger"], "one text classifier")):
        with pytest.raises(SystemExit):
            asked(*(word for each in wrong for word in ("--emotion", each)))
        assert told in capsys.readouterr().err
