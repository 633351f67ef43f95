"""Laws of profiles: pure functions of what they hold, refused when hostile, silent when shared."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import save

from conftest import plain
from prefgen import Profile
from prefgen.core import History, HistoryItem, InputError, ProfileError, content_hash
from prefgen.pipeline import MAX_STORED_PX, stored_picture
from prefgen.pipeline.profile_file import FORMAT_VERSION


def noise(seed: int, size: tuple[int, int] = (300, 200)) -> Image.Image:
    """A picture like no other."""
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*size[::-1], 3), dtype=np.uint8))


def repacked(profile: Profile, change) -> bytes:
    """The profile's file with its description changed."""
    data = profile.to_bytes()
    n = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + n])
    told = json.loads(header["__metadata__"]["prefgen.profile"])
    change(told, header)
    header["__metadata__"]["prefgen.profile"] = json.dumps(told)
    head = json.dumps(header).encode()
    return len(head).to_bytes(8, "little") + head + data[8 + n :]


def test_add_then_remove_restores_every_byte(model, me, tmp_path):
    picture = noise(0)
    more = me.add(liked=[picture], weights=[2.5], comments=["so lively"], aspects=["colours"], times=[12.25])
    assert len(more) == len(me) + 1
    assert more.tokens is None
    back = more.remove(picture)
    assert back.history_bytes() == me.history_bytes()
    assert back.digest == me.digest
    model._tokens.clear()
    again = model.with_embedding(back)
    assert torch.equal(again.tokens.like, me.tokens.like)
    assert torch.equal(again.tokens.dislike, me.tokens.dislike)
    assert again.to_bytes() == me.to_bytes()
    path = tmp_path / "new.png"
    picture.save(path)
    assert more.remove(path).digest == more.remove(content_hash(picture)[:12]).digest == me.digest


def test_saving_and_loading_keeps_everything(model, me, tmp_path):
    full = model.with_embedding(
        me.add(disliked=[noise(1)], weights=[3.0], aspects=["style"]).edit(like=["Gold"], forget=["ink"])
    )
    full.save(tmp_path / "me.safetensors")
    loaded = Profile.load(tmp_path / "me.safetensors")
    assert loaded.to_bytes() == full.to_bytes()
    assert loaded.edits.like == ("gold",)
    assert loaded.history.items == full.history.items
    model._tokens.clear()
    assert torch.equal(model.with_embedding(loaded.with_tokens(None)).tokens.like, full.tokens.like)
    assert [path.name for path in tmp_path.iterdir()] == ["me.safetensors"]


def test_the_embedding_depends_on_the_stored_picture_alone(model):
    large = noise(2, (1024, 512))
    small = stored_picture(large)
    assert max(small.size) == MAX_STORED_PX
    assert stored_picture(small).tobytes() == small.tobytes()
    a, b = model.profile(liked=[large]), model.profile(liked=[small])
    assert torch.equal(a.tokens.like, b.tokens.like)
    assert a.history.items[0].sha256 != b.history.items[0].sha256


def test_sides_weights_and_edits_change_the_embedding(model):
    red, blue = plain("red"), plain("blue")
    base = model.profile(liked=[red], disliked=[blue])
    others = [
        model.profile(liked=[blue], disliked=[red]),
        model.profile(liked=[red], disliked=[blue], weights=[2.0, 1.0]),
        model.with_embedding(base.edit(like=["gold"])),
        model.with_embedding(base.edit(dislike=["gold"])),
        model.with_embedding(base.edit(forget=["gold"])),
    ]
    tokens = [torch.cat([p.tokens.like, p.tokens.dislike]).numpy().tobytes() for p in (base, *others)]
    assert len(set(tokens)) == len(tokens)


def test_a_later_opinion_replaces_an_earlier_one(me):
    changed = me.add(disliked=[plain("red")])
    assert len(changed) == len(me)
    assert changed.history.items[-1].side == "dislike"
    again = me.add(liked=[plain("darkred")])
    assert again.history_bytes() == me.history_bytes()


def test_profiles_never_change(me):
    before = me.to_bytes()
    me.add(liked=[noise(3)])
    me.remove(plain("blue"))
    me.edit(like=["gold"])
    assert me.to_bytes() == before


def test_unknown_pictures_and_the_last_one_are_not_removed(model, me):
    with pytest.raises(InputError, match="not in the profile"):
        me.remove(noise(4))
    with pytest.raises(InputError, match="at least one"):
        model.profile(liked=[plain("red")]).remove(plain("red"))


def test_word_edits_say_the_last_thing():
    from prefgen.pipeline import WordEdits

    edits = WordEdits().edited(like=["Gold", "pop  art"]).edited(dislike=["gold"]).edited(forget=["pop art"])
    assert edits == WordEdits(dislike=("gold",), forget=("pop art",))
    with pytest.raises(InputError):
        edits.edited(like=["a"], dislike=["a"])
    with pytest.raises(InputError):
        edits.edited(like="gold")


def test_word_edits_follow_their_formula():
    from prefgen.pipeline import WordEdits
    from prefgen.pipeline.word_edits import edited_sem

    space = {"": [0.0, 0.0], "gold": [0.0, 4.0], "gold, ink": [2.0, 2.0], "ink": [3.0, 0.0]}

    def embed(texts):
        return torch.tensor([space[text] for text in texts])

    sem = torch.tensor([[1.0, 1.0]])
    like = edited_sem(sem, WordEdits(like=("gold",)), "like", embed)
    torch.testing.assert_close(like, torch.tensor([[2 / 3, 2.0]]))
    torch.testing.assert_close(
        edited_sem(sem, WordEdits(like=("gold", "ink")), "like", embed), torch.tensor([[1.5, 1.5]])
    )
    torch.testing.assert_close(edited_sem(sem, WordEdits(forget=("ink",)), "like", embed), torch.tensor([[0.0, 1.0]]))
    torch.testing.assert_close(edited_sem(-sem, WordEdits(forget=("ink",)), "like", embed), -sem)
    torch.testing.assert_close(edited_sem(sem, WordEdits(dislike=("gold",)), "like", embed), sem)
    torch.testing.assert_close(edited_sem(None, WordEdits(like=("gold",)), "like", embed), torch.tensor([[0.0, 4.0]]))


def test_a_shared_profile_paints_the_same_and_holds_nothing_else(model):
    picture = noise(5, (40, 40))
    full = model.with_embedding(
        model.profile(liked=[picture], prompts=["my secret garden"], comments=["grandmother"]).edit(like=["heirloom"])
    )
    data = full.share().to_bytes()
    for secret in (picture.tobytes()[:64], b"secret", b"grandmother", b"heirloom", full.digest.encode()):
        assert secret in (full.to_bytes() + full.digest.encode())
        assert secret not in data
    assert content_hash(picture).encode() not in data
    shared = Profile.from_bytes(data)
    assert model("a fox", shared, seed=1).images[0] == model("a fox", full, seed=1).images[0]
    for use in (
        lambda: model.score(shared, [picture]),
        lambda: model.explain(shared),
        lambda: shared.add(liked=[picture]),
        lambda: shared.remove(picture),
        lambda: shared.edit(like=["gold"]),
        lambda: model.rebuild(shared),
    ):
        with pytest.raises(ProfileError, match="shared profile holds no pictures"):
            use()


def test_sharing_needs_an_embedding(me):
    with pytest.raises(ProfileError, match="no embedding"):
        me.add(liked=[noise(6)]).share()


def test_another_versions_profile_is_refused_and_can_be_rebuilt(model, me, tmp_path):
    path = tmp_path / "old.safetensors"
    path.write_bytes(repacked(me, lambda told, header: told.update(version=FORMAT_VERSION + 1)))
    with pytest.raises(ProfileError) as caught:
        Profile.load(path)
    assert "prefgen profile rebuild" in str(caught.value)
    assert model.rebuild(path).to_bytes() == me.to_bytes()


def test_an_older_versions_tokens_of_another_layout_do_not_keep_its_pictures(model, me, tmp_path):
    def flat(told: dict, header: dict) -> None:
        told.update(version=FORMAT_VERSION - 1)
        for side in ("like", "dislike"):
            n_rows, n_tokens, width = header[f"tokens.{side}"]["shape"]
            header[f"tokens.{side}"]["shape"] = [n_rows * n_tokens, width]

    path = tmp_path / "older.safetensors"
    path.write_bytes(repacked(me, flat))
    assert model.rebuild(path).to_bytes() == me.to_bytes()
    path.write_bytes(repacked(me, lambda told, header: (flat(told, header), told.update(version=FORMAT_VERSION))))
    with pytest.raises(ProfileError, match="belongs in no profile"):
        Profile.load(path)


def test_a_time_that_is_no_number_is_refused(model):
    item = HistoryItem(image=noise(3), side="like", time_s=float("nan"))
    with pytest.raises(InputError, match="unix seconds"):
        model.profile(history=History(items=(item,)))


HOSTILE_CHANGES = {
    "model": lambda told, header: told.update(model="x"),
    "kind": lambda told, header: told.update(kind="odd"),
    "no items": lambda told, header: told.update(items=[]),
    "items are text": lambda told, header: told.update(items="abc"),
    "side": lambda told, header: told["items"][0].update(side="both"),
    "weight is NaN": lambda told, header: told["items"][0].update(weight=float("nan")),
    "weight is text": lambda told, header: told["items"][0].update(weight="1"),
    "weight is huge": lambda told, header: told["items"][0].update(weight=1e9),
    "weight beyond floats": lambda told, header: told["items"][0].update(weight=10**400),
    "time": lambda told, header: told["items"][0].update(time_s="yesterday"),
    "time beyond floats": lambda told, header: told["items"][0].update(time_s=-(10**400)),
    "half a character": lambda told, header: told["items"][0].update(prompt="\ud800"),
    "too long a comment": lambda told, header: told["items"][0].update(comment="a" * 20_001),
    "terminal escapes": lambda told, header: told.update(edits={"like": ["\x1b]0;x\x07"], "dislike": [], "forget": []}),
    "aspect": lambda told, header: told["items"][0].update(aspect="smell"),
    "hash": lambda told, header: told["items"][0].update(sha256="../../etc"),
    "twice": lambda told, header: told["items"][0].update(sha256=told["items"][1]["sha256"]),
    "extra key": lambda told, header: told["items"][0].update(code="import os"),
    "prompt is a list": lambda told, header: told["items"][0].update(prompt=["a"]),
    "too few items": lambda told, header: told["items"].pop(),
    "edits": lambda told, header: told.update(edits={"like": [1], "dislike": [], "forget": []}),
    "edits on both sides": lambda told, header: told.update(edits={"like": ["a"], "dislike": ["a"], "forget": []}),
    "tampered": lambda told, header: told["items"][0].update(weight=7.0),
    "shape": lambda told, header: header["picture.0000"].update(shape=[10**9, 10**9, 3]),
    "negative shape": lambda told, header: header["picture.0000"].update(shape=[-1, 24, 3]),
    "offsets": lambda told, header: header["picture.0000"].update(data_offsets=[0, 10**12]),
    "dtype": lambda told, header: header["tokens.like"].update(dtype="I32"),
    "foreign tensor": lambda told, header: header.update({"x": header.pop("tokens.like")}),
}


NEED_TOKENS = ("tampered", "dtype", "foreign tensor")
"""Everything else must be refused in a profile without tokens: their digest would refuse any change at all."""


@pytest.mark.parametrize("change", HOSTILE_CHANGES)
def test_hostile_descriptions_are_refused(me, change):
    profile = me if change in NEED_TOKENS else me.with_tokens(None)
    with pytest.raises(ProfileError) as caught:
        Profile.from_bytes(repacked(profile, HOSTILE_CHANGES[change]))
    assert ("was not computed from its pictures" in caught.value.message) == (change == "tampered")


def test_hostile_bytes_are_refused(me, tmp_path):
    data = me.to_bytes()
    nan = me.with_tokens(type(me.tokens)(like=me.tokens.like * float("nan"), dislike=me.tokens.dislike))
    n = int.from_bytes(data[:8], "little")
    for hostile in (
        b"",
        b"\x00" * 20,
        b"\xff" * 64,
        data[:4],
        data[: 8 + n // 2],
        data[:-7],
        data + b"more",
        save({"weight": np.zeros(3, dtype=np.float32)}),
        save({"weight": np.zeros(3, dtype=np.float32)}, metadata={"prefgen.profile": "[" * 100_000}),
        nan.to_bytes(),
    ):
        with pytest.raises(ProfileError):
            Profile.from_bytes(hostile)
    with pytest.raises(ProfileError, match="cannot be read"):
        Profile.load(tmp_path / "nowhere.safetensors")
    with pytest.raises(ProfileError):
        Profile.load(tmp_path)


def test_what_could_not_be_read_again_is_not_written(me, tmp_path):
    path = tmp_path / "me.safetensors"
    me.save(path)
    before = path.read_bytes()
    with pytest.raises(InputError, match="at most 20000 letters"):
        me.add(liked=[noise(1)], comments=["a" * 20_001])
    with pytest.raises(InputError, match="at most 200 words"):
        me.edit(like=[f"word {k}" for k in range(201)])
    item = replace(me.history.items[0], comment="a" * 20_001)
    with pytest.raises(InputError, match="cannot be kept"):
        replace(me, history=History(items=(item,)), tokens=None).save(path)
    assert path.read_bytes() == before


def test_saving_leaves_no_part_and_keeps_permissions(me, tmp_path):
    path = tmp_path / "me.safetensors"
    me.save(path)
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o640)
    me.edit(like=["gold"]).save(path)
    assert path.stat().st_mode & 0o777 == 0o640
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match="cannot be written"):
        me.save(tmp_path / "folder")
    assert {p.name for p in tmp_path.iterdir()} == {"me.safetensors", "folder"}


def test_many_writers_and_a_reader_see_whole_files_only(me, tmp_path):
    path = tmp_path / "me.safetensors"
    kinds = [me, me.edit(like=["gold"])]
    me.save(path)
    wanted = {profile.to_bytes() for profile in kinds}
    with ThreadPoolExecutor(3) as pool:
        writers = [pool.submit(lambda k=k: [kinds[k].save(path) for _ in range(15)]) for k in range(2)]
        while not all(writer.done() for writer in writers):
            assert path.read_bytes() in wanted
        for writer in writers:
            writer.result()


def test_an_older_opinion_does_not_replace_a_newer_one(model, caplog):
    picture, other = noise(3), noise(4)
    me = model.profile(liked=[picture, other], times=[2e9, 2e9])
    later = me.add(disliked=[picture], times=[1.0])
    assert [item.side for item in later.history.items] == ["like", "like"]
    assert [item.side for item in me.add(disliked=[picture], times=[2.1e9]).history.items] == ["like", "dislike"]
    assert [item.side for item in me.add(disliked=[picture]).history.items] == ["like", "dislike"]
    with caplog.at_level("WARNING", logger="prefgen"):
        me.add_history(History(items=(me.history.items[0],), n_dropped_conflicts=3))
    assert "3 pictures were both liked and disliked" in caplog.text
