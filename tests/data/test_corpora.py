"""Each corpus in its published layout: labels, splits and folds, and what is missing by name."""

from __future__ import annotations

import shutil
from collections import Counter

import pytest

import spectrim
from data import trees
from spectrim.common.errors import SpectrimError, SpectrimNotice
from spectrim.data.corpora import CORPORA, prepare
from spectrim.data.corpora.esc import ESC10
from spectrim.data.corpora.speechcommands import WORDS
from spectrim.data.manifest import read_data, write_manifest


def clips_of(path):
    """Clips of a manifest, checked to be there."""
    clips = read_data(path).clips
    assert all(clip.path.is_file() for clip in clips)
    return clips


@pytest.fixture(params=trees.TREES)
def corpus(request, tmp_path):
    """A corpus's name and its folder."""
    return request.param, trees.TREES[request.param](tmp_path / "corpus")


def test_there_is_a_tree_for_each_corpus():
    assert set(trees.TREES) == set(CORPORA)


def test_nothing_is_written_into_the_corpus(corpus, tmp_path):
    name, folder = corpus
    before = trees.listing(folder)
    result = prepare(name, folder, tmp_path / "out")
    assert trees.listing(folder) == before
    written = {path for path in (tmp_path / "out").iterdir() if path.is_file()}
    assert written == {*result.paths} | ({result.missing_list} - {None})
    assert sum(result.counts[result.paths[0].stem].values()) == len(clips_of(result.paths[0]))


def test_manifests_never_go_into_the_corpus(corpus, tmp_path):
    name, folder = corpus
    before = trees.listing(folder)
    (tmp_path / "link").symlink_to(folder, target_is_directory=True)
    for out in (folder, folder / "manifests", tmp_path / "link" / "deep"):
        with pytest.raises(SpectrimError, match="inside the folder of the corpus"):
            prepare(name, folder, out)
    with pytest.raises(SpectrimError, match="inside the folder of the corpus"):
        prepare(name, tmp_path / "link", folder)
    assert trees.listing(folder) == before


@pytest.mark.parametrize("name", CORPORA)
def test_another_layout_is_refused(tmp_path, name):
    (tmp_path / "corpus").mkdir()
    with pytest.raises(SpectrimError, match="Expected"):
        prepare(name, tmp_path / "corpus", tmp_path / "out")
    with pytest.raises(SpectrimError, match="no such folder"):
        prepare(name, tmp_path / "nowhere", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_unknown_names_are_refused(tmp_path):
    with pytest.raises(SpectrimError, match="Did you mean 'fsdd'"):
        prepare("fsd", tmp_path, tmp_path / "out")
    with pytest.raises(SpectrimError, match="no manifest format is called 'xml'"):
        prepare("fsdd", tmp_path, tmp_path / "out", "xml")


def test_fsdd(tmp_path):
    digit, speaker = prepare("fsdd", trees.fsdd(tmp_path / "fsdd"), tmp_path / "out").paths
    assert [(c.labels, c.split) for c in clips_of(digit)] == [
        (("zero",), "train"),
        (("seven",), "test"),
        (("seven",), "train"),
    ]
    assert [c.labels for c in clips_of(speaker)] == [("theo",), ("jackson",), ("jackson",)]
    trees.sound(tmp_path / "fsdd" / "recordings" / "seven.wav")
    with pytest.raises(SpectrimError, match=r"seven.wav: expected a name such as 7_jackson_32"):
        prepare("fsdd", tmp_path / "fsdd", tmp_path / "out")


def test_esc10(tmp_path):
    path, _ = prepare("esc10", trees.esc10(tmp_path / "esc"), tmp_path / "out").paths
    clips = clips_of(path)
    assert Counter(c.labels[0] for c in clips) == {"Dog bark": 4, "Rain": 4, "Rooster": 4}
    assert all(c.fold == c.path.name[0] for c in clips)
    trees.sound(tmp_path / "esc" / "001 - Dog bark" / "6-100-A.ogg")
    with pytest.raises(SpectrimError, match="the fold first"):
        prepare("esc10", tmp_path / "esc", tmp_path / "out")


def test_esc50_and_its_part(tmp_path):
    folder = trees.esc50(tmp_path / "esc")
    (folder / "audio" / "3-000-A-0.wav").unlink()
    result = prepare("esc50", folder, tmp_path / "out")
    assert result.missing == ["audio/3-000-A-0.wav"]
    assert result.missing_list.read_text() == "audio/3-000-A-0.wav\n"
    assert result.missing_list.name == "esc50-missing.txt"
    clips = clips_of(*result.paths)
    assert Counter(c.labels[0] for c in clips) == {"dog": 4, "rain": 5, "pig": 5}
    assert all(c.fold == c.path.name[0] for c in clips)
    assert result.counts["esc50"]["fold 3"] == 2
    part = clips_of(prepare("esc10", folder, tmp_path / "out").paths[0])
    assert Counter(c.labels[0] for c in part) == {"Dog bark": 4, "Rain": 5}  # ESC-10's names


def test_esc50s_categories_have_the_names_of_the_built_in_models():
    assert set(ESC10) <= set(spectrim.load("ast-esc50").labels)


def test_esc50_packed_has_the_names_folds_and_licences_of_the_published_one(tmp_path):
    folder = trees.esc50_packed(tmp_path / "esc")
    clips = clips_of(*prepare("esc50", folder, tmp_path / "out").paths)
    assert Counter((c.labels[0], c.fold) for c in clips) == {
        (label, fold): 2 for label in ("sea_waves", "door_wood_knock") for fold in "123"
    }
    assert [(c.start, c.end) for c in clips[:6]] == [
        (take / 10, pytest.approx(take / 10 + 0.1)) for take in range(6)
    ]
    assert [c.licence for c in clips] == ["CC0", "CC-BY", "CC-BY-NC"] * 4
    (folder / "01.ogg").unlink()
    result = prepare("esc50", folder, tmp_path / "out")
    assert result.missing == ["01.ogg"] and len(clips_of(*result.paths)) == 6


def test_only_shareable_clips(tmp_path):
    folder = trees.esc50_packed(tmp_path / "esc")
    (path,) = prepare("esc50", folder, tmp_path / "out", shareable=True).paths
    assert path.name == "esc50-shareable.csv"
    assert Counter(c.licence for c in clips_of(path)) == {"CC0": 4, "CC-BY": 4}
    with pytest.raises(SpectrimError, match="no clip of fsdd states a licence of CC0 or CC-BY"):
        prepare("fsdd", trees.fsdd(tmp_path / "fsdd"), tmp_path / "out", shareable=True)


def test_published_esc50_states_licences_in_its_list_of_attributions(tmp_path):
    folder = trees.esc50(tmp_path / "esc")
    trees.text(
        folder / "LICENSE",
        "- [1-000-A.ogg]: clip derived from a [loud] dog (http://x/) by nobody [CC0]",
        "- [2-000-Ad.ogg]: clip derived from dog.wav (http://x/) by nobody [CC-BY]",
        "- [3-000-A.ogg]: clip derived from dog.wav (http://x/) by nobody [CC-BY-NC]",
        "- [9-100-A.ogg]: not a clip of the table [CC0]",
    )
    clips = clips_of(*prepare("esc50", folder, tmp_path / "out").paths)
    known = {c.path.name: c.licence for c in clips if c.licence}
    assert known == {
        "1-000-A-0.wav": "CC0", "2-000-A-0.wav": "CC-BY", "3-000-A-0.wav": "CC-BY-NC",
    }  # fmt: skip
    (path,) = prepare("esc50", folder, tmp_path / "out", shareable=True).paths
    assert [c.path.name for c in clips_of(path)] == ["1-000-A-0.wav", "2-000-A-0.wav"]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("path,label,fold,start\n", "no column 'end'"),
        ("path,label,fold,start,end\na.ogg,Dog,1,5,5\n", "row 2: expected a path, a label, and"),
        ("path,label,fold,start,end\na.ogg,Dog,1,x,5\n", "row 2: expected a path, a label, and"),
        ("path,label,fold,start,end\n", "lists no clip"),
        ("path,label,fold,start,end\na.ogg,Dog,1,0,5\n", "none of the 1 clips"),
    ],
)
def test_packed_tables_that_are_wrong(tmp_path, table, message):
    trees.text(tmp_path / "esc" / "esc50.csv", table.rstrip())
    with pytest.raises(SpectrimError, match=message):
        prepare("esc50", tmp_path / "esc", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_arabic_speech_commands(tmp_path):
    folder = trees.arabicspeechcommands(tmp_path / "words")
    words, speakers = prepare("arabicspeechcommands", folder, tmp_path / "out").paths
    assert (words.name, speakers.name) == ("words.csv", "words-speaker.csv")
    assert [(c.labels[0], c.split, c.start) for c in clips_of(words)] == [
        ("yes", "train", 0.0), ("yes", "valid", 0.1), ("yes", "test", 0.2),
        ("zoom in", "train", 0.0), ("zoom in", "valid", 0.1), ("zoom in", "test", 0.2),
    ]  # fmt: skip
    assert Counter((c.labels[0], c.split) for c in clips_of(speakers)) == {
        (f"speaker {number}", split): 1 for number in range(3) for split in ("train", "test")
    }


def test_joined_words_have_one_speaker_and_no_gap(tmp_path):
    """Seven takes of one speaker, five of another with a missing one, five of a third."""
    folder = tmp_path / "words"
    rows = [(take, "a", "train") for take in range(7)]
    rows += [(take, "b", "train") for take in (7, 8, 9, 11, 12)]
    rows += [(take, "c", "test") for take in range(13, 18)]
    lines = [
        f"yes.ogg,yes,{split},{start},{start + 1},speaker {name}" for start, name, split in rows
    ]
    trees.text(folder / "words.csv", "path,label,split,start,end,speaker", *lines)
    trees.text(folder / "speakers.csv", "path,label,split,start,end,word", *lines[:1])
    trees.sound(folder / "yes.ogg")
    *_, joined = prepare("arabicspeechcommands", folder, tmp_path / "out").paths
    assert joined.name == "words-joined.csv"
    assert [(c.start, c.end, c.split, c.labels) for c in clips_of(joined)] == [
        (0.0, 5.0, "train", ("yes",)), (13.0, 18.0, "test", ("yes",)),
    ]  # fmt: skip


def test_librispeech_takes_the_first_utterance_that_is_long_enough(tmp_path):
    folder = trees.librispeech(tmp_path / "libri")
    clips = clips_of(*prepare("librispeech", folder, tmp_path / "out").paths)
    assert [(c.path.name, c.labels[0], c.split, c.start, c.end) for c in clips] == [
        ("103-1240-0001.flac", "speaker 103", "test", 6.5, 9.5),
        ("103-1240-0001.flac", "speaker 103", "valid", 3.5, 6.5),
        ("103-1240-0001.flac", "speaker 103", "train", 0.0, 3.0),
        ("40-222-0000.ogg", "speaker 40", "test", 8.234, 11.234),
        ("40-222-0000.ogg", "speaker 40", "valid", 5.234, 8.234),
        ("40-222-0000.ogg", "speaker 40", "train", 0.0, 3.0),
        ("40-222-0000.ogg", "speaker 40", "train", 1.0, 4.0),
        ("40-222-0000.ogg", "speaker 40", "train", 2.0, 5.0),
    ]


def test_real_librispeech_has_the_windows_of_its_own_table(data, tmp_path):
    folder = data / "LibriSpeech-speakers"
    if not folder.is_dir():
        pytest.skip(f"{folder} is absent")

    def windows(path):
        return {
            (c.path.name, c.labels, c.split, round(c.start, 3), round(c.end, 3))
            for c in clips_of(path)
        }

    prepared = prepare("librispeech", folder, tmp_path).paths[0]
    assert windows(prepared) == windows(folder / "speakers.csv") and len(windows(prepared)) == 1568


def test_real_packed_corpora(data, tmp_path):
    if not (data / "ESC-50").is_dir():
        pytest.skip(f"{data / 'ESC-50'} is absent")
    (whole,) = prepare("esc50", data / "ESC-50", tmp_path).paths
    assert Counter(c.fold for c in clips_of(whole)) == dict.fromkeys("12345", 400)
    assert set(Counter(c.labels for c in clips_of(whole)).values()) == {40}
    (part,) = prepare("esc50", data / "ESC-50", tmp_path, shareable=True).paths
    assert Counter(c.fold == "5" for c in clips_of(part)) == {False: 1401, True: 369}
    folder = data / "ArabicSpeechCommands"
    words, speakers, joined = prepare("arabicspeechcommands", folder, tmp_path).paths
    expected = {"train": 7200, "valid": 2400, "test": 2400}
    assert Counter(c.split for c in clips_of(words)) == expected
    assert len({c.labels for c in clips_of(words)}) == 40
    assert len({c.labels for c in clips_of(speakers)}) == 30
    assert Counter(c.split for c in clips_of(joined)) == {k: n // 5 for k, n in expected.items()}
    assert {c.end - c.start for c in clips_of(joined)} == {5.0}


def test_a_list_of_what_was_missing_does_not_outlive_it(tmp_path):
    folder = trees.esc50(tmp_path / "esc")
    away = (folder / "audio" / "3-000-A-0.wav").rename(tmp_path / "away.wav")
    path = prepare("esc50", folder, tmp_path / "out").missing_list
    assert path.is_file()
    away.rename(folder / "audio" / "3-000-A-0.wav")
    assert prepare("esc50", folder, tmp_path / "out").missing_list is None
    assert not path.exists()


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("filename,fold\n", "no column 'category'"),
        ("filename,fold,category,esc10\na.wav,6,dog,True\n", "row 2: expected a filename, a fold"),
        ("filename,fold,category,esc10\na.wav,1\n", "row 2: expected a filename, a fold"),
        ("filename,fold,category,esc10\na.wav,1,dog,True\n", "none of the 1 clips"),
    ],
)
def test_esc50_tables_that_are_wrong(tmp_path, table, said):
    trees.text(tmp_path / "esc" / "meta" / "esc50.csv", table.rstrip())
    with pytest.raises(SpectrimError, match=said):
        prepare("esc50", tmp_path / "esc", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_speechcommands(tmp_path):
    folder = trees.speechcommands(tmp_path / "sc")
    result = prepare("speechcommands", folder, tmp_path / "out")
    assert result.counts == {"speechcommands": {"test": 35, "train": 35, "valid": 35}}
    clips = clips_of(*result.paths)
    assert {c.labels for c in clips} == {(word,) for word in WORDS} and len(WORDS) == 35
    expected = {"0": "train", "a": "valid", "f": "test"}
    assert all(c.split == expected[c.path.name[0]] for c in clips)
    assert all(c.path.parent.name == c.labels[0] for c in clips)


def test_speechcommands_names_what_is_missing(tmp_path):
    folder = trees.speechcommands(tmp_path / "sc")
    (folder / "bed" / "ffffffff_nohash_0.wav").unlink()
    shutil.rmtree(folder / "marvin")
    (folder / "marvellous").mkdir()
    with pytest.warns(SpectrimNotice, match="marvellous: not a word"):
        result = prepare("speechcommands", folder, tmp_path / "out")
    assert result.missing == [
        "marvin/",
        "marvin/a1b2c3d4_nohash_0.wav",
        "bed/ffffffff_nohash_0.wav",
        "marvin/ffffffff_nohash_0.wav",
    ]
    (folder / "testing_list.txt").unlink()
    with pytest.raises(
        SpectrimError, match=r"testing_list.txt: .*Expected the folder of Speech Commands V2"
    ):
        prepare("speechcommands", folder, tmp_path / "out")


def test_voxceleb1(tmp_path):
    folder = trees.voxceleb1(tmp_path / "vox")
    clips = clips_of(*prepare("voxceleb1", folder, tmp_path / "out").paths)
    assert [(c.labels[0], c.split, c.path.parent.name) for c in clips] == [
        ("id10001", "train", "1zcIwhmdeo4"),
        ("id10001", "valid", "7gWzIy6yIIk"),
        ("id10270", "test", "x6uYqmx31kE"),
        ("id11251", "train", "-5HjvbNXn-A"),
    ]
    shutil.rmtree(folder / "test")
    result = prepare("voxceleb1", folder, tmp_path / "out")
    assert result.missing == ["id10270/x6uYqmx31kE/00002.wav"]
    trees.text(folder / "iden_split.txt", "1 id10001/1zcIwhmdeo4/00001.wav", "4 id1/x/1.wav")
    with pytest.raises(SpectrimError, match=r"iden_split.txt, line 2: '4 id1"):
        prepare("voxceleb1", folder, tmp_path / "out")
    trees.text(folder / "iden_split.txt", "")
    with pytest.raises(SpectrimError, match="lists no clip"):
        prepare("voxceleb1", folder, tmp_path / "out")


def test_links_to_folders_are_followed_and_loops_end(tmp_path):
    folder = trees.voxceleb1(tmp_path / "vox")
    (folder / "dev").rename(tmp_path / "elsewhere")
    (folder / "dev").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (folder / "wav" / "loop").symlink_to(folder, target_is_directory=True)
    result = prepare("voxceleb1", folder, tmp_path / "out")
    assert not result.missing and len(clips_of(*result.paths)) == 4


def test_manifests_in_a_linked_folder_find_their_clips(tmp_path):
    (tmp_path / "far" / "away").mkdir(parents=True)
    (tmp_path / "out").symlink_to(tmp_path / "far" / "away", target_is_directory=True)
    for path in prepare("fsdd", trees.fsdd(tmp_path / "fsdd"), tmp_path / "out").paths:
        assert len(clips_of(path)) == 3


def test_clips_of_a_manifest_in_a_linked_folder_are_written_to_another(tmp_path):
    (tmp_path / "far" / "away").mkdir(parents=True)
    path, _ = prepare("fsdd", trees.fsdd(tmp_path / "fsdd"), tmp_path / "far" / "away").paths
    (tmp_path / "near").symlink_to(path.parent, target_is_directory=True)
    clips = read_data(tmp_path / "near" / path.name).clips  # near/../../fsdd/recordings/...
    assert len(clips_of(write_manifest(tmp_path / "part.csv", clips))) == 3


def test_real_fsdd(data, tmp_path):
    digit, speaker = prepare("fsdd", data / "FSDD", tmp_path).paths
    for path, classes in ((digit, 10), (speaker, 6)):
        clips = clips_of(path)
        assert Counter(c.split for c in clips) == {"train": 2700, "test": 300}
        assert len({c.labels for c in clips}) == classes
