"""A speech encoder of transformers in place of the log-mel features, proven with a tiny wav2vec2 of random weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertModel, Wav2Vec2Config, Wav2Vec2Model

from superface_hf import SuperFaceAudioToLipConfig, SuperFaceAudioToLipModel, SuperFaceError
from superface_hf.models.audio_to_lip import speech_encoder

RATE = 16000


def noise(seconds: float, seed: int = 0) -> np.ndarray:
    return (0.1 * np.random.default_rng(seed).normal(size=int(seconds * RATE))).astype(np.float32)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny wav2vec2 whose frames are 20 ms apart, as the real one's."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("wav2vec2")
    config = Wav2Vec2Config(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        conv_dim=(8, 8, 8),
        conv_kernel=(20, 8, 5),
        conv_stride=(16, 5, 4),
        feat_extract_norm="layer",
        do_stable_layer_norm=True,
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=4,
    )
    Wav2Vec2Model(config).save_pretrained(folder)
    return folder


@pytest.fixture
def model(encoder: Path) -> SuperFaceAudioToLipModel:
    torch.manual_seed(1)
    return SuperFaceAudioToLipModel(
        SuperFaceAudioToLipConfig(audio_encoder=str(encoder), hidden_size=16, dilations=(1, 2))
    ).eval()


def test_a_new_model_has_the_named_encoders_weights(model, encoder: Path) -> None:
    original = Wav2Vec2Model.from_pretrained(encoder)
    assert type(model.audio_encoder) is Wav2Vec2Model
    for name, weight in original.state_dict().items():
        assert torch.equal(weight, model.audio_encoder.state_dict()[name]), name


def test_one_configuration_builds_the_same_encoder_twice(encoder: Path) -> None:
    config = SuperFaceAudioToLipConfig(audio_encoder=str(encoder), hidden_size=16, dilations=(1,))
    first, second = (SuperFaceAudioToLipModel(config).audio_encoder.state_dict() for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_waveforms_become_fifty_mouths_a_second(model) -> None:
    with torch.no_grad():
        output = model(torch.from_numpy(np.stack([noise(1), noise(1, 1)])))
    assert output.mouth.shape == (2, 50, 30)
    assert model.predict(noise(1), 25).shape == (25, 30)
    assert model.predict(noise(3 / RATE), 25).shape == (1, 30)


def test_a_batch_changes_no_row(model) -> None:
    sounds = [noise(1), noise(0.5, 1)]
    waveforms, mask = torch.zeros(2, RATE), torch.zeros(2, RATE, dtype=torch.long)
    for row, sound in enumerate(sounds):
        waveforms[row, : len(sound)] = torch.from_numpy(sound)
        mask[row, : len(sound)] = 1
    with torch.no_grad():
        output = model(waveforms, attention_mask=mask)
    assert output.attention_mask.sum(1).tolist() == [50, 25]
    for row, sound in enumerate(sounds):
        np.testing.assert_allclose(output.mouth[row, : len(sound) // 320].numpy(), model.predict(sound, 50), atol=1e-4)


@pytest.mark.parametrize("frozen", [True, False])
def test_training_leaves_a_frozen_encoder_alone(encoder: Path, frozen: bool) -> None:
    config = SuperFaceAudioToLipConfig(
        audio_encoder=str(encoder), freeze_audio_encoder=frozen, hidden_size=16, dilations=(1,)
    )
    made = SuperFaceAudioToLipModel(config).train()
    assert made.audio_encoder.training is not frozen
    made(torch.from_numpy(noise(1))[None]).mouth.square().mean().backward()
    assert all((weight.grad is None) is frozen for weight in made.audio_encoder.encoder.layers.parameters())
    assert all(weight.grad is not None for weight in made.network.parameters())


def test_a_checkpoint_brings_its_encoder_along(model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with torch.no_grad():
        model.audio_encoder.encoder.layer_norm.weight.add_(0.5)  # trained on: no longer what the folder holds
    model.save_pretrained(tmp_path / "ours")
    monkeypatch.setattr(model.config, "audio_encoder", "gone")
    again = SuperFaceAudioToLipModel.from_pretrained(tmp_path / "ours")
    for (name, one), other in zip(model.state_dict().items(), again.state_dict().values(), strict=True):
        assert torch.equal(one, other), name
    assert not any(weight.requires_grad for weight in again.audio_encoder.parameters())
    np.testing.assert_array_equal(model.predict(noise(1), 25), again.predict(noise(1), 25))


def test_a_checkpoint_needs_neither_network_nor_the_encoders_folder(model, encoder: Path, tmp_path: Path) -> None:
    model.config.audio_encoder = "nobody/has-this-model"
    model.save_pretrained(tmp_path)
    assert SuperFaceAudioToLipModel.from_pretrained(tmp_path).predict(noise(0.2), 25).shape == (5, 30)


def test_long_sound_goes_through_in_blocks(model, monkeypatch: pytest.MonkeyPatch) -> None:
    sound = noise(2.5)
    lengths = []
    forward = model.audio_encoder.forward
    monkeypatch.setattr(
        model.audio_encoder, "forward", lambda x, **options: lengths.append(x.shape[1]) or forward(x, **options)
    )
    monkeypatch.setattr(speech_encoder, "BLOCK_SECONDS", 1)
    monkeypatch.setattr(speech_encoder, "CONTEXT_SECONDS", 0.5)
    assert model.predict(sound, 50).shape == (125, 30)
    assert lengths == [24000, 32000, 16000]


def test_features_are_where_their_sound_is(model) -> None:
    """A click halfway: what the encoder's convolutions make of it must be halfway too."""
    click = torch.zeros(1, RATE)
    click[0, 8000] = 1
    model.audio_encoder.encoder = torch.nn.Identity()  # attention would spread the click over everything

    def plain(waveforms: torch.Tensor, **_: object) -> object:
        hidden = model.audio_encoder.feature_extractor(waveforms).transpose(1, 2)
        return type("Output", (), {"last_hidden_state": hidden})

    model.audio_encoder.forward = plain
    with torch.no_grad():
        features = speech_encoder.encode(model.audio_encoder, click, torch.tensor([RATE]), 320)[0]
    away = (features - features[5]).abs().sum(1)
    assert len(away) == 50
    assert abs(int(away.argmax()) - 25) <= 1


def test_streaming_says_why_it_cannot(model) -> None:
    with pytest.raises(SuperFaceError, match="log-mel"):
        model.stream(25)


def test_what_hears_no_waveforms_is_refused(tmp_path: Path) -> None:
    BertModel(
        BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8, vocab_size=9)
    ).save_pretrained(tmp_path)
    with pytest.raises(SuperFaceError, match="BertModel, which does not hear"):
        SuperFaceAudioToLipModel(SuperFaceAudioToLipConfig(audio_encoder=str(tmp_path)))
