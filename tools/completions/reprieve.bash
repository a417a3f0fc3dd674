# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
# bash completion for reprieve(8)

_reprieve_words() {
	COMPREPLY=($(compgen -W "$1" -- "$current"))
}

_reprieve_value() {
	case $1 in
	--op) _reprieve_words "unlink rmdir delete rename truncate overwrite rawwrite sql exec" ;;
	--verdict) _reprieve_words "allow alert hold deny kill" ;;
	--format) _reprieve_words "jsonl csv sqlite ocsf" ;;
	--color) _reprieve_words "auto always never" ;;
	--workspace | --journal) COMPREPLY=($(compgen -d -- "$current")) ;;
	--policy | --socket | --path | --new-path) COMPREPLY=($(compgen -f -- "$current")) ;;
	--session)
		_reprieve_words "$(reprieve sessions --json 2>/dev/null | sed -n 's/^{"id":"\([^"]*\)".*/\1/p')"
		;;
	*) return 1 ;;
	esac
}

# The long options that the command's own help tells of.
_reprieve_options() {
	_reprieve_words "$(reprieve "$@" --help 2>/dev/null | grep -oE '^ +(-[a-z], )?--[a-z-]+' | grep -oE -- '--[a-z-]+')"
}

_reprieve() {
	local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]} words=("${COMP_WORDS[@]:1:COMP_CWORD-1}")

	COMPREPLY=()
	# `--op=un` comes as three words.
	[[ $current == = ]] && current=
	[[ $previous == = ]] && previous=${COMP_WORDS[COMP_CWORD - 2]}
	if [[ $COMP_CWORD -eq 1 ]]; then
		_reprieve_words "run daemon watch status sessions pending approve deny review release replay report export verify policy doctor help --help --version"
	elif [[ ${words[0]} == policy && $COMP_CWORD -eq 2 ]]; then
		_reprieve_words "check show test help"
	elif [[ ${words[0]} == help ]]; then
		_reprieve_words "run daemon watch status sessions pending approve deny review release replay report export verify policy doctor"
	elif _reprieve_value "$previous"; then
		:
	elif [[ ${words[0]} == approve || ${words[0]} == deny ]] && [[ $current != -* ]]; then
		_reprieve_words "$(reprieve pending --json 2>/dev/null | sed -n 's/^{"hold":\([0-9]*\).*/\1/p')"
	elif [[ $current == -* ]]; then
		[[ ${words[0]} == policy ]] && _reprieve_options policy "${words[1]}" || _reprieve_options "${words[0]}"
	else
		COMPREPLY=($(compgen -f -- "$current"))
	fi
}

complete -o filenames -F _reprieve reprieve
