"""Tools, and the form of an answer, in OpenAI's words. `chat.tools` and `answer_format` say what they mean."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from internvl.chat.tools import MAX_TOOLS
from internvl.engine.grammar_source import MAX_EXPRESSION_CHARS
from internvl.server.schemas.base import Strict, by_field, by_shape, one_of

JsonSchema = dict[str, Any]
Expression = Annotated[str, Field(min_length=1, max_length=MAX_EXPRESSION_CHARS)]
FunctionName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.:-]{1,64}$")]


class Function(Strict):
    """A function that the model may ask for."""

    name: FunctionName
    description: str | None = None
    parameters: JsonSchema | None = None
    """JSON schema of its arguments, an object."""
    strict: bool | None = None
    """Its arguments must fit the schema even where the model is free to call or not."""


class Tool(Strict):
    """A tool; only functions are known."""

    type: Literal["function"]
    function: Function


class FunctionChoice(Strict):
    """The name of a function."""

    name: FunctionName


class NamedTool(Strict):
    """One of the tools."""

    type: Literal["function"]
    function: FunctionChoice


class AllowedTools(Strict):
    """Some of the tools."""

    mode: Literal["auto", "required"]
    tools: Annotated[list[NamedTool], Field(min_length=1, max_length=MAX_TOOLS)]


class AllowedToolsChoice(Strict):
    """The model may, or must, call some of the tools."""

    type: Literal["allowed_tools"]
    allowed_tools: AllowedTools


Tools = Annotated[list[Tool], Field(max_length=MAX_TOOLS)]
ToolChoice = one_of(
    by_shape,
    text=Literal["none", "auto", "required"],
    object=one_of(by_field("type"), function=NamedTool, allowed_tools=AllowedToolsChoice),
)


class CalledFunction(Strict):
    """What an earlier answer asked for."""

    name: FunctionName
    arguments: str
    """JSON text of an object."""


class ToolCall(Strict):
    """A call in an earlier answer."""

    id: Annotated[str, Field(max_length=128)]
    type: Literal["function"]
    function: CalledFunction


class TextFormat(Strict):
    """Any text."""

    type: Literal["text"]


class JsonObjectFormat(Strict):
    """Any JSON object."""

    type: Literal["json_object"]


class NamedSchema(Strict):
    """A JSON schema and its name."""

    name: Annotated[str, Field(max_length=64)]
    description: str | None = None
    schema_: Annotated[JsonSchema, Field(alias="schema")]
    strict: bool | None = None
    """It always holds here."""


class JsonSchemaFormat(Strict):
    """JSON that a schema admits."""

    type: Literal["json_schema"]
    json_schema: NamedSchema


class RegexFormat(Strict):
    """LMDeploy's: text that a regular expression matches as a whole."""

    type: Literal["regex_schema"]
    regex_schema: Expression


ResponseFormat = one_of(
    by_field("type"),
    text=TextFormat,
    json_object=JsonObjectFormat,
    json_schema=JsonSchemaFormat,
    regex_schema=RegexFormat,
)
