# bash completion for imdsgate. It hands the words over and shows what `imdsgate complete` prints;
# what may stand where is known there. It must say nothing when the program is not there, and runs
# it from PATH only, whatever was typed.

_imdsgate() {
	local -a words=()
	local line=${COMP_LINE:0:COMP_POINT} value piece prefix

	# bash takes words apart at = and :, the program does not
	read -ra words <<<"$line"
	while ((${#words[@]})) && [[ ${words[0]} != "${COMP_WORDS[0]}" ]]; do
		words=("${words[@]:1}")
	done
	[[ $line == *[[:space:]] ]] && words+=("")
	((${#words[@]} > 1)) || return 0

	# only the last piece of the word is replaced
	piece=${COMP_WORDS[COMP_CWORD]}
	[[ $piece == [=:] ]] && piece=
	prefix=${words[-1]%"$piece"}
	COMPREPLY=()
	while IFS=$'\t' read -r value _; do
		case $value in
		:files | :directories)
			compopt -o filenames 2>/dev/null
			mapfile -t -O "${#COMPREPLY[@]}" COMPREPLY < <(
				compgen "$([[ $value == :files ]] && echo -f || echo -d)" -- "$piece"
			)
			;;
		*) COMPREPLY+=("${value#"$prefix"}") ;;
		esac
	done < <(command imdsgate complete -- "${words[@]:1}" 2>/dev/null)
}

complete -F _imdsgate imdsgate
