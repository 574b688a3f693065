"""docs/commands.md, made from what the commands say of themselves: ``make commands``."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from typer.main import get_command

from headrace.cli import app

PAGE = Path(__file__).parents[2] / "docs" / "commands.md"

_HEAD = """# Commands

{about}

Made from the commands' own help (`make commands`); `headrace … --help` shows the same. What is asked for
goes to standard output, all else to standard error; when a command fails, the last line is the command to
go on with. Rows come as `-o table`, `json` or `csv`. A progress bar appears on a terminal only. `headrace
--install-completion` completes commands and options in your shell.

| exit code | meaning |
|---|---|
| 0 | done |
| 1 | failed; a job that ended in ERROR |
| 2 | wrong usage: options, settings, no server or key known |
| 3 | done, but some rows were rejected |
| 130 | interrupted (Ctrl-C) |
| 141 | whoever read the output has gone |

**Which server.** A profile that is named (`--profile`, `HEADRACE_PROFILE`) comes first, then
`HEADRACE_URL` and `HEADRACE_KEY`, then the default profile of `~/.config/headrace/config.toml`
(`XDG_CONFIG_HOME`). A key that is in neither may be in the system's keyring, with the extra
`headrace[keyring]`. A stored key is sent to the server that it was stored for and to no other. No option
takes a secret, for everybody on a machine can read the words of a process, and no command shows one but
those that make it.

`serve`, `keys`, `doctor`, `backup`, `restore` and `maintain --data-dir` work on the data folder of this
machine instead ([operations](operations.md)).
"""


def page() -> str:
    root = get_command(app)
    parts = [_HEAD.format(about=_prose(root.help))]
    parts += [_section(words, command) for words, command in _commands(root, ())]
    return "\n".join(parts)


def _commands(group: Any, words: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _commands(command, (*words, name))
        else:
            yield (*words, name), command


def _section(words: tuple[str, ...], command: Any) -> str:
    lines = [f"## headrace {' '.join(words)}", "", f"    {_usage(words, command)}", "", _prose(command.help)]
    rows = [_row(parameter) for parameter in command.params if parameter.name != "help"]
    if rows:
        lines += ["", "| | |", "|---|---|", *rows]
    return "\n".join([*lines, ""])


def _usage(words: tuple[str, ...], command: Any) -> str:
    arguments = [_argument(p) for p in command.params if p.param_type_name == "argument"]
    return " ".join(["headrace", *words, *arguments, "[options]"])


def _argument(parameter: Any) -> str:
    name = str(parameter.metavar or parameter.name).upper() + ("…" if parameter.nargs == -1 else "")
    return name if parameter.required else f"[{name}]"


def _row(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        name = f"`{_argument(parameter)}`"
    else:
        name = ", ".join(f"`{option}`" for option in (*parameter.opts, *parameter.secondary_opts))
    told = str(parameter.help).replace("|", "\\|")
    needed = " (needed)" if parameter.required and parameter.param_type_name != "argument" else ""
    return f"| {name} | {told}{needed}{_default(parameter)} |"


def _default(parameter: Any) -> str:
    default = parameter.default
    if default in (None, False, ()) or callable(default) or "default" in str(parameter.help):
        return ""
    return f"; default: `{getattr(default, 'value', default)}`"


def _prose(text: str | None) -> str:
    return inspect.cleandoc(text or "")


if __name__ == "__main__":
    PAGE.write_text(page())
