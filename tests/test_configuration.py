"""Settings that users write: what is wrong with them is said in one sentence."""

import pytest

from culi_mlip.configuration import Configuration, parse, read_yaml
from culi_mlip.errors import RecipeError


class Settings(Configuration):
    """Settings of a test."""

    size: int = 1


@pytest.mark.parametrize(
    "text",
    ["when: 2026-13-41", "[" * 5000, "\0", "- 1", "", "a: !!python/name:os.system"],
)
def test_what_is_no_mapping_is_refused(tmp_path, text):
    (tmp_path / "recipe.yaml").write_text(text)
    with pytest.raises(RecipeError, match=r"recipe\.yaml (is not YAML|holds no mapping)"):
        read_yaml(tmp_path / "recipe.yaml")


@pytest.mark.parametrize("key", ["siez", "{siez}", "{", "%s", 3])
def test_an_unknown_key_is_named_as_it_is(key):
    with pytest.raises(RecipeError) as error:
        parse(Settings, {key: 2}, "it")
    assert f"unknown key '{key}': the nearest valid key is 'size'" in str(error.value)
