# bash completion for imdsgated, from what `imdsgated --help` prints: a flag a line, behind it what
# its value is. It must say nothing when the program is not there, and runs it from PATH only.

_imdsgated() {
	local piece=${COMP_WORDS[COMP_CWORD]} flag=${COMP_WORDS[COMP_CWORD - 1]} value
	local -a known=()

	if [[ $piece == = ]]; then
		piece=
	elif [[ $flag == = ]]; then
		flag=${COMP_WORDS[COMP_CWORD - 2]}
	fi
	COMPREPLY=()
	mapfile -t known < <(command imdsgated --help 2>/dev/null | sed -nE 's/^  (--[^ ]+( [^ ]+)?) .*/\1/p')
	value=$(printf '%s\n' "${known[@]}" | sed -n "s/^${flag//[^a-z-]/} //p")
	case $value in
	'') mapfile -t COMPREPLY < <(compgen -W "${known[*]%% *}" -- "$piece") ;;
	DIR)
		compopt -o filenames 2>/dev/null
		mapfile -t COMPREPLY < <(compgen -d -- "$piece")
		;;
	FILE | PATH)
		compopt -o filenames 2>/dev/null
		mapfile -t COMPREPLY < <(compgen -f -- "$piece")
		;;
	# small letters: the values themselves
	*[A-Z]*) ;;
	*) mapfile -t COMPREPLY < <(compgen -W "${value//|/ }" -- "$piece") ;;
	esac
}

complete -F _imdsgated imdsgated
