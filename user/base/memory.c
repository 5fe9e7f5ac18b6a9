/*
 * Giving back memory; see memory.h.
 */
#include "base/memory.h"

#include <link.h>
#include <malloc.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

/* Segments that cannot be written hold what the file holds. Those that can are left alone, and with
 * them what the dynamic linker wrote and then protected (RELRO is a part of such a segment). */
static int drop_clean_segments(struct dl_phdr_info *info, size_t size, void *userdata)
{
	const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);

	(void)size;
	(void)userdata;
	for (int i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *segment = &info->dlpi_phdr[i];
		uintptr_t begin = info->dlpi_addr + segment->p_vaddr;
		uintptr_t end = begin + segment->p_filesz;

		if (segment->p_type != PT_LOAD || segment->p_flags & PF_W)
			continue;
		begin &= ~(page - 1);
		(void)madvise((void *)begin, end - begin, MADV_DONTNEED);
	}
	return 0;
}

void ig_memory_give_back(void)
{
	(void)malloc_trim(0);
	(void)dl_iterate_phdr(drop_clean_segments, NULL);
}
