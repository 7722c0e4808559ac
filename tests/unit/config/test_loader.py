"""From files to one document: YAML as 1.2 has it, places, substitution, includes."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import pytest

from mosnpy.config import check, loader
from mosnpy.config.scalars import compose_pure, composer, resolve, substitute

if TYPE_CHECKING:
    from pathlib import Path

    from mosnpy.config.loader import Document


def read(text: str, **env: str) -> Document:
    return loader.load_text(text, "t.yaml", env)


def messages(document: Document) -> list[str]:
    return [f"{f.line}:{f.column} {f.message}" for f in document.faults]


def test_which_parser_is_used_does_not_matter() -> None:
    text = "a: [1, \"2\", '3', {b: |\n  c\n}]\nd: &x {e: f}\ng: *x\nh: !!str 5\n"
    text = text.replace("{b: |\n  c\n}", "{b: c}")

    def shape(node: Any) -> Any:
        value = node.value
        inner = (
            [shape(n) if not isinstance(n, tuple) else [shape(m) for m in n] for n in value]
            if isinstance(value, list)
            else value
        )
        return (type(node).__name__, node.tag, node.start_mark.line, node.start_mark.column, inner)

    assert shape(composer(io.StringIO(text))) == shape(compose_pure(io.StringIO(text)))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("~", None),
        ("null", None),
        ("Null", None),
        ("true", True),
        ("FALSE", False),
        ("yes", "yes"),
        ("on", "on"),
        ("Off", "Off"),
        ("12", 12),
        ("-3", -3),
        ("+3", 3),
        ("007", 7),
        ("0o17", 15),
        ("0x1F", 31),
        ("1.5", 1.5),
        (".5", 0.5),
        ("1e3", 1000.0),
        (".inf", float("inf")),
        ("22:22", "22:22"),
        ("1_000", "1_000"),
        ("127.0.0.1:6380", "127.0.0.1:6380"),
        (":6380", ":6380"),
        ("2024-01-01", "2024-01-01"),
        ("-", "-"),
        ("9" * 400, "9" * 400),
    ],
)
def test_plain_scalars_follow_yaml_1_2_core(text: str, value: object) -> None:
    found = resolve(text)
    assert found == value
    assert type(found) is type(value)


def test_quotes_and_explicit_tags_decide_the_type() -> None:
    document = read("""{a: "5", b: '5', c: !!str 5, d: !!int "5", e: 5, f: !!null x}""")
    assert document.data == {"a": "5", "b": "5", "c": "5", "d": 5, "e": 5, "f": None}


def test_unknown_tags_are_refused() -> None:
    document = read("a: !python/object:os.system x\nb: !foo {x: 1}\n")
    assert messages(document) == ["1:4 unknown tag '!python/object:os.system'", "2:4 unknown tag '!foo'"]


def test_keys_are_texts_whatever_they_look_like() -> None:
    assert read("6379: a\ntrue: b\n").data == {"6379": "a", "true": "b"}


def test_a_key_twice_is_an_error_naming_both_lines() -> None:
    document = read("a:\n  b: 1\n  c: 2\n  b: 3\n")
    assert messages(document) == ["4:3 'b' is already given at line 2"]
    assert document.data == {"a": {"b": 1, "c": 2}}


def test_a_top_level_key_twice_is_an_error() -> None:
    assert messages(read("a: 1\na: 2\n")) == ["2:1 'a' is already given at line 1"]


def test_merge_keys_are_refused_with_a_reason() -> None:
    document = read("x: &x {a: 1}\ny: {<<: *x, b: 2}\n")
    assert messages(document) == [
        "2:5 merge keys (<<) are not part of YAML 1.2: use an alias (*name) for a whole value"
    ]


def test_aliases_stand_for_values() -> None:
    assert read("x: &x {a: [1, 2]}\ny: *x\n").data == {"x": {"a": [1, 2]}, "y": {"a": [1, 2]}}


def test_an_alias_that_contains_itself_is_an_error() -> None:
    document = read("x: &x [1, *x]\n")
    assert any("alias" in f.message for f in document.faults)


def test_aliases_can_not_blow_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loader, "_MOST_VALUES", 10_000)
    rows = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    rows += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12)]
    document = read("\n".join(rows))
    assert len(document.faults) == 1
    assert "aliases (*name) multiply" in document.faults[0].message


@pytest.mark.parametrize("deep", ["[" * 30_000, "- " * 30_000, "{a: " * 30_000])
def test_deep_nesting_is_an_error_not_a_crash(deep: str) -> None:
    document = read("x:\n  " + deep)
    assert document.faults
    assert not document.whole


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("a: [1, 2\nb: 3\n", (2, 2)),
        ("a: b: c\n", (1, 5)),
        ("a:\n\tb: 1\n", (2, 1)),
        ('a: "x\n', (2, 1)),
        ("a: 1\n---\nb: 2\n", (2, 1)),
    ],
)
def test_a_syntax_error_has_its_place(text: str, place: tuple[int, int]) -> None:
    document = read(text)
    assert [(f.line, f.column) for f in document.faults] == [place]
    assert document.faults[0].message.startswith("not YAML: ")


def test_control_characters_are_an_error() -> None:
    document = read("a: 1\nb: \x01\n")
    assert [f.line for f in document.faults] == [2]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the configuration is empty"),
        ("# only\n", "the configuration is empty"),
        ("[1]", "the file must be a mapping, such as `listeners: …`"),
        ("x", "the file must be a mapping, such as `listeners: …`"),
    ],
)
def test_a_file_is_one_mapping(text: str, message: str) -> None:
    assert [f.message for f in read(text).faults] == [message]


class TestSubstitution:
    ENV = {"N": "4", "EMPTY": "", "TEXT": "a: [b]", "T": "true"}

    @pytest.mark.parametrize(
        ("text", "value"),
        [
            ("${N}", "4"),
            ("x${N}y${N}", "x4y4"),
            ("${NO:-d}", "d"),
            ("${NO:-}", ""),
            ("${EMPTY:-d}", "d"),
            ("${EMPTY}", ""),
            ("$${N}", "${N}"),
            ("a$b", "a$b"),
            ("$$", "$$"),
            ("~x{2}$", "~x{2}$"),
            ("${NO:-a:-b}", "a:-b"),
        ],
    )
    def test_forms(self, text: str, value: str) -> None:
        assert substitute(text, self.ENV) == value

    def test_the_type_is_decided_after_it_and_quotes_still_count(self) -> None:
        document = read('a: ${N}\nb: "${N}"\nc: ${T}\nd: ${NO:-}\ne: !!str ${N}', **self.ENV)
        assert document.data == {"a": 4, "b": "4", "c": True, "d": None, "e": "4"}

    def test_a_value_can_not_add_structure(self) -> None:
        assert read("x: ${TEXT}\n", **self.ENV).data == {"x": "a: [b]"}

    def test_a_missing_variable_is_an_error_at_its_place_with_a_guess(self) -> None:
        document = read('a: "x ${REDIS_PASSWRD}"\n', REDIS_PASSWORD="x")
        assert messages(document) == [
            "1:7 environment variable 'REDIS_PASSWRD' is not set, and there is no default, did you mean 'REDIS_PASSWORD'?"
        ]

    @pytest.mark.parametrize("text", ["${}", "${a b}", "${1x}", "${x", "${x:+y}"])
    def test_other_forms_are_refused(self, text: str) -> None:
        assert len(read(f"a: '{text}'\n").faults) == 1

    def test_keys_are_left_alone(self) -> None:
        assert read("a${N}: 1\n", **self.ENV).data == {"a${N}": 1}

    def test_a_secret_is_read_from_a_file(self, tmp_path: Path) -> None:
        (tmp_path / "s").write_text("p@ss: [x]\n")
        assert read(f"a: ${{file:{tmp_path}/s}}\n").data == {"a": "p@ss: [x]"}

    def test_an_unreadable_secret_is_an_error_that_does_not_stop_the_rest(self, tmp_path: Path) -> None:
        (tmp_path / "bad").write_bytes(b"\xff")
        document = read(f"a: ${{file:{tmp_path}/no}}\nb: ${{file:{tmp_path}/bad}}\nc: ${{file:x}}\nd: 1\n")
        assert [f.line for f in document.faults] == [1, 2, 3]
        assert "No such file" in document.faults[0].message
        assert document.data["d"] == 1


class TestFiles:
    def write(self, folder: Path, **files: str) -> None:
        for name, text in files.items():
            path = folder / name.replace("__", "/").replace("_yaml", ".yaml")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    def test_includes_are_relative_and_in_lexical_order(self, tmp_path: Path) -> None:
        self.write(
            tmp_path,
            main_yaml="include: [conf.d/*.yaml]\nupstreams: {m: 0}\n",
            **{"conf.d__b_yaml": "upstreams: {b: 2}\n", "conf.d__a_yaml": "upstreams: {a: 1}\nworkers: 3\n"},
        )
        document = loader.load_documents([tmp_path / "main.yaml"])
        assert document.faults == []
        assert list(document.data["upstreams"].items()) == [("m", 0), ("a", 1), ("b", 2)]
        assert document.data["workers"] == 3
        place = document.place(("upstreams", "b"))
        assert place is not None
        assert str(place) == f"{tmp_path}/conf.d/b.yaml:1:16"

    def test_the_same_name_in_two_files_is_an_error_naming_both_places(self, tmp_path: Path) -> None:
        self.write(tmp_path, main_yaml="include: a.yaml\nupstreams:\n  x: 1\n", a_yaml="upstreams:\n  x: 2\n")
        document = loader.load_documents([str(tmp_path / "main.yaml")])
        (fault,) = document.faults
        assert (fault.file, fault.line, fault.column) == (str(tmp_path / "a.yaml"), 2, 3)
        assert fault.message == f"upstream 'x' is already defined at {tmp_path}/main.yaml:3:3"

    def test_a_scalar_in_two_files_is_an_error(self, tmp_path: Path) -> None:
        self.write(tmp_path, main_yaml="include: a.yaml\nworkers: 1\nversion: 1\n", a_yaml="workers: 1\nversion: 1\n")
        document = loader.load_documents([str(tmp_path / "main.yaml")])
        assert [f.message for f in document.faults] == [f"'workers' is already given at {tmp_path}/main.yaml:2:1"]

    def test_a_loop_of_includes_is_an_error(self, tmp_path: Path) -> None:
        self.write(tmp_path, a_yaml="include: b.yaml\nx: 1\n", b_yaml="include: a.yaml\ny: 1\n")
        document = loader.load_documents([str(tmp_path / "a.yaml")])
        (fault,) = document.faults
        assert fault.message.startswith("include loop: ")
        assert (fault.file, fault.line) == (str(tmp_path / "b.yaml"), 1)

    def test_a_file_included_twice_is_an_error(self, tmp_path: Path) -> None:
        self.write(tmp_path, a_yaml='include: [b.yaml, "*b.yaml"]\n', b_yaml="y: 1\n")
        document = loader.load_documents([str(tmp_path / "a.yaml")])
        assert [f"{f.line}:{f.column}" for f in document.faults] == ["1:19"]
        assert "is already part of this configuration" in document.faults[0].message

    def test_a_missing_include_is_an_error_but_an_empty_pattern_is_none(self, tmp_path: Path) -> None:
        self.write(tmp_path, a_yaml="include: [no.yaml, conf.d/*.yaml]\nx: 1\n")
        document = loader.load_documents([str(tmp_path / "a.yaml")])
        assert [f.message for f in document.faults] == [f"can't read {tmp_path}/no.yaml: No such file or directory"]
        assert document.faults[0].column == 11

    def test_a_folder_stands_for_its_files(self, tmp_path: Path) -> None:
        self.write(tmp_path, b_yaml="upstreams: {b: 1}\n", a_yaml="upstreams: {a: 1}\n")
        (tmp_path / "notes.txt").write_text("not yaml: [")
        document = loader.load_documents([tmp_path])
        assert list(document.data["upstreams"]) == ["a", "b"]

    def test_a_folder_without_any_is_the_only_fault(self, tmp_path: Path) -> None:
        assert [f.message for f in check([str(tmp_path)])] == ["this folder has no *.yaml file"]

    def test_the_good_files_are_read_beside_a_broken_one(self, tmp_path: Path) -> None:
        self.write(tmp_path, a_yaml="include: [b.yaml, c.yaml]\n", b_yaml="x: [\n", c_yaml="upstreams: {c: 1}\n")
        document = loader.load_documents([str(tmp_path / "a.yaml")])
        assert document.data["upstreams"] == {"c": 1}
        assert len(document.faults) == 1
        assert not document.whole

    def test_bytes_that_are_not_utf_8_have_their_place(self, tmp_path: Path) -> None:
        (tmp_path / "a.yaml").write_bytes(b"x: 1\ny: a\xff\n")
        document = loader.load_documents([str(tmp_path / "a.yaml")])
        assert [(f.line, f.column, f.message) for f in document.faults] == [(2, 5, "this byte is not UTF-8")]

    def test_a_byte_order_mark_is_no_text(self, tmp_path: Path) -> None:
        (tmp_path / "a.yaml").write_bytes(b"\xef\xbb\xbfx: 1\n")
        assert loader.load_documents([str(tmp_path / "a.yaml")]).data == {"x": 1}
