from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
from typing import Any

import pytest
from vsqlvault_access_cedar import CedarEvaluator
from vsqlvault_access_cedar.compiled import compile_parameters
from vsqlvault_access_cedar.policy_text import (
    MAX_CONDITIONALS,
    MAX_NESTING,
    MAX_PATH,
    MAX_TEXT,
    line_and_column,
    read_statements,
)

from vsqlvault.errors import ValidationFailed
from vsqlvault.model.access import Action
from vsqlvault.model.policy import AccessPolicy, Rule

ALL = "permit (principal, action, resource)"
SMALL_STACK = 512 * 1024


def when(condition: str) -> str:
    return f"{ALL} when {{ {condition} }};"


def faults(policies: Any, **members: Any) -> dict[str, str]:
    document = AccessPolicy("p", 1, "cedar", {}, json.dumps({"policies": policies, **members}))
    with pytest.raises(ValidationFailed) as refused:
        CedarEvaluator().check(document)
    return {error.field: error.expected for error in refused.value.errors}


def place(policies: Any, **members: Any) -> tuple[int, int]:
    """Return line and column of the one fault in the text."""
    said = re.match(r"line (\d+), column (\d+): ", faults(policies, **members)["parameters.policies"])
    assert said
    return int(said[1]), int(said[2])


def accept(policies: Any, **members: Any) -> None:
    CedarEvaluator().check(AccessPolicy("p", 1, "cedar", {}, json.dumps({"policies": policies, **members})))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("permit (principal, action resource);", (1, 27)),
        ("permit (principal, action, resource)", (1, 36)),
        (f"{ALL};\n\n  {ALL} when {{ 1 + }};", (3, 51)),
        (f"{ALL};\n{ALL} when;", (2, 42)),
        ("permit (principal; action, resource);", (1, 18)),
        (when("1 + ; 2"), (1, 49)),
        (when("true") + "\n" + when("resource.a ++ 1 == 2"), (2, 57)),
        (f"{ALL} whenn {{ true }};", (1, 1)),
        ("permit (principal, action);", (1, 1)),
        (f"{ALL};\nallow (principal, action, resource);", (2, 1)),
        (f"{ALL};\n" + when("foo(1)"), (2, 1)),
        (when("99999999999999999999 == 1"), (1, 45)),
        (when("true === true"), (1, 52)),
        (f"// a comment with {{ in it\n{ALL};\n;", (3, 1)),
        (when("resource.external_id == ]"), (1, 69)),
        (f'{ALL} when {{ "abc }};', (1, 45)),
        (f"{ALL} when {{ § }};", (1, 45)),
        ("", (1, 1)),
        ("// nothing\n", (1, 1)),
        (f"{ALL};)", (1, 38)),
    ],
)
def test_a_syntax_error_is_found_where_it_is(text: str, found: tuple[int, int]) -> None:
    assert place(text) == found


@pytest.mark.parametrize(
    ("condition", "column", "expected"),
    [
        ("resource.ownr_app == principal.app", 54, "an attribute of the schema"),
        ("context.nowhere", 53, "an attribute of the schema"),
        ('resource.metadata.region == "eu"', 63, "only after `has`"),
        ("resource.expires_at > context.at", 54, "only after `has`"),
        ('principal == Ap::"x"', 58, "App, Role, Entry or Purpose"),
        ('action == Action::"fetch"', 1, "the action store"),
        ("resource.external_id > 1", 1, "an operand of the type"),
        ("resource.external_id == 1", 1, "two operands of one type"),
        ('context.at > datetime("tomorrow")', 1, "a literal that this extension"),
        ("resource.retrievals", 1, "an operand of the type"),
    ],
)
def test_what_the_schema_does_not_have_is_found_too(condition: str, column: int, expected: str) -> None:
    text = f"\n{when(condition)}"
    found = faults(text, metadata={"region": "String"})["parameters.policies"]
    assert found.startswith(f"line 2, column {column}: ")
    assert expected in found


def test_every_policy_at_fault_is_named() -> None:
    document = json.dumps({"policies": [when("resource.a == 1"), f"{ALL};", when("resource.b == 1")]})
    with pytest.raises(ValidationFailed) as refused:
        compile_parameters(document)
    assert [error.expected.partition(":")[0] for error in refused.value.errors] == [
        "line 1, column 54",
        "line 3, column 54",
    ]


@pytest.mark.parametrize(
    "text",
    [
        when("resource.secret_4111111111111111 == 1"),
        when('context.at > datetime("4111111111111111")'),
        when('resource == Planted::"4111111111111111"'),
        f'@id("4111111111111111 !") {ALL};',
        "permit (principal, action 4111111111111111);",
        f'{ALL} when {{ "4111111111111111 }};',
    ],
)
def test_an_error_never_shows_the_text(text: str) -> None:
    said = json.dumps(faults(text))
    assert "4111111111111111" not in said
    assert "Planted" not in said


@pytest.mark.parametrize("text", [f"{ALL};", [f"{ALL};"], ["permit (principal,", "action, resource)", ";"]])
def test_the_policies_are_a_text_or_its_lines(text: Any) -> None:
    accept(text)


@pytest.mark.parametrize(
    ("members", "field"),
    [
        ({"policies": None}, "parameters.policies"),
        ({"policies": 1}, "parameters.policies"),
        ({"policies": [1]}, "parameters.policies"),
        ({"metadata": {"region": "Text"}}, "parameters.metadata"),
        ({"metadata": {"a b": "String"}}, "parameters.metadata"),
        ({"metadata": {'a"?: Long, "b': "String"}}, "parameters.metadata"),
        ({"metadata": {f"m{number}": "Long" for number in range(65)}}, "parameters.metadata"),
        ({"metadata": []}, "parameters.metadata"),
        ({"timezone": "Europe/Atlantis"}, "parameters.timezone"),
        ({"timezone": "../../etc/passwd"}, "parameters.timezone"),
        ({"more": 1}, "parameters"),
    ],
)
def test_one_bad_field_is_named(members: dict[str, Any], field: str) -> None:
    assert list(faults(**{"policies": f"{ALL};", **members})) == [field]


def test_missing_policies_are_named() -> None:
    with pytest.raises(ValidationFailed) as refused:
        compile_parameters("{}")
    assert [error.field for error in refused.value.errors] == ["parameters.policies"]


def test_a_document_with_rules_is_refused() -> None:
    document = AccessPolicy("p", 1, "cedar", {Action.STORE: Rule()}, json.dumps({"policies": f"{ALL};"}))
    with pytest.raises(ValidationFailed) as refused:
        CedarEvaluator().check(document)
    assert [error.field for error in refused.value.errors] == ["rules"]


def test_every_kind_of_metadata_can_be_declared_and_asked_for() -> None:
    kinds = {
        "text": "String",
        "count": "Long",
        "flag": "Bool",
        "texts": "Set<String>",
        "counts": "Set<Long>",
        "a-b": "Bool",
    }
    accept(
        when(
            'resource.metadata has text && resource.metadata.text like "x*" && resource.metadata has count && '
            "resource.metadata.count > 3 && resource.metadata has flag && resource.metadata.flag && "
            'resource.metadata has texts && resource.metadata.texts.contains("x") && resource.metadata has counts && '
            'resource.metadata.counts.containsAll([1, 2]) && resource.metadata has "a-b" && resource.metadata["a-b"]'
        ),
        metadata=kinds,
    )


@pytest.mark.parametrize(
    "annotation",
    [
        "@id",
        "@id()",
        '@id("")',
        '@id("Upper")',
        '@id("' + "x" * 65 + '")',
        '@id("a\\u{62}")',
        '@id("a") @id("b")',
        '@note("x")',
        "@",
        "@@",
        '@max_retrievals("0")',
        '@max_retrievals("-1")',
        '@max_retrievals("01")',
        '@max_retrievals("2147483648")',
        '@max_retrievals("99999999999999999999")',
        '@max_retrievals("\u0663")',
        "@max_retrievals(3)",
        "@max_retrievals",
    ],
)
def test_an_annotation_that_means_nothing_here_is_refused(annotation: str) -> None:
    assert place(f"{ALL};\n{annotation} {ALL};") == (
        2,
        1 + (annotation.rfind("@id") if annotation.count("@id") > 1 else 0),
    )


def test_two_policies_of_one_id_are_refused() -> None:
    assert place(f'@id("a") {ALL};\n@id("a") {ALL};') == (2, 1)


def test_only_a_permit_has_a_limit() -> None:
    assert place('@max_retrievals("3")\nforbid (principal, action, resource);') == (2, 1)


def test_a_template_is_refused() -> None:
    assert place("permit (principal == ?principal, action, resource);") == (1, 1)


def test_annotations_are_read_as_cedar_reads_them() -> None:
    text = f'// @id("no")\n@id("first") {ALL} ;\n\n@max_retrievals ( "7" ) // why\n@id("second.one-2") {ALL};{ALL};'
    assert [(one.id, one.max_retrievals) for one in read_statements(text)] == [
        ("first", None),
        ("second.one-2", 7),
        (None, None),
    ]


def test_brackets_in_texts_and_comments_do_not_count() -> None:
    accept(when('resource.external_id == "' + "(" * 100 + '"') + " // " + "(" * 100)


# Each ends the process where Cedar is given it, or costs it the square of the text.
DEEP = {
    "parentheses": when("(" * 3900 + "true" + ")" * 3900),
    "sets": when("[" * 3900 + "1" + "]" * 3900 + " == [1]"),
    "records": when("{a:" * 1900 + "1" + "}" * 1900 + " == {a: 1}"),
    "negations": when("!(" * 2600 + "true" + ")" * 2600),
    "calls": when("resource.metadata.contains(" * 290 + "1" + ")" * 290),
    "conditionals": when("if true then " * 340 + "true" + " else true" * 340),
    "paths": when("resource has " + ".".join("a" * 3900)),
    "closed too early": ")" * 4000 + "(" * 4000,
    "never closed": f"{ALL} when " + "{" * 8000,
    "behind a text": when('"\\"" == ' + "(" * 3800 + "true" + ")" * 3800),
    "behind a comment": f"//\r{ALL} when {{ " + "(" * 3800 + "true" + ")" * 3800 + " };",
}


@pytest.mark.parametrize("text", DEEP.values(), ids=DEEP)
def test_a_text_that_nests_too_deeply_is_refused_before_cedar_sees_it(text: str) -> None:
    assert len(text) <= MAX_TEXT
    assert "parameters.policies" in faults(text)


def test_cedar_itself_does_not_survive_such_a_text() -> None:
    """Why the text is read twice: once this fails, the limits can go."""
    script = f"import cedarpy; cedarpy.PolicySet.from_str({DEEP['parentheses']!r})"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, check=False).returncode < 0


def test_a_text_that_is_too_long_is_refused() -> None:
    assert "at most 8192 characters" in faults(f"{ALL};" * 300)["parameters.policies"]


# As deep, and as long, as they may be.
WORST = {
    "parentheses": when("(" * (MAX_NESTING - 1) + "true" + ")" * (MAX_NESTING - 1)),
    "conditionals": when("if true then " * MAX_CONDITIONALS + "true" + " else true" * MAX_CONDITIONALS),
    "both": when("(if true then " * (MAX_NESTING - 1) + "true" + " else true)" * (MAX_NESTING - 1)),
    "paths": when("true" + "".join(f" || resource has {'.'.join('a' * MAX_PATH)}" for _ in range(240))),
    "sums": when("1" + "+1" * 4000 + " == 1"),
    "ands": when("true" + "&&true" * 1300),
    "ors": when("false" + "||false" * 1100),
    "indices": when('{a:1}["a"] == 1' + ' && {a:1}["a"] == 1' * 400),
    "wildcards": when('resource.external_id like "' + "*a" * 4000 + '*"'),
    "a long set": when("[" + "1," * 4000 + "1].contains(1)"),
    "many": f"{ALL};" * 220,
    "clauses": ALL + "when{true}" * 800 + ";",
    "offsets": when("context.at" + '.offset(duration("1d"))' * 340 + " > context.at"),
}


@pytest.mark.parametrize("text", WORST.values(), ids=WORST)
def test_what_is_within_the_limits_needs_little_of_the_stack(text: str) -> None:
    answers: list[object] = []

    def decide() -> None:
        try:
            CedarEvaluator().check(AccessPolicy("p", 1, "cedar", {}, json.dumps({"policies": text})))
            answers.append("taken")
        except ValidationFailed as refused:
            answers.append(refused.errors)

    before = threading.stack_size(SMALL_STACK)
    try:
        thread = threading.Thread(target=decide)
        thread.start()
        thread.join()
    finally:
        threading.stack_size(before)
    assert answers == ["taken"] or "resource has" in text


def test_a_place_is_counted_from_one() -> None:
    assert [line_and_column("ab\nc", offset) for offset in range(4)] == [(1, 1), (1, 2), (1, 3), (2, 1)]
