/* What a user's program does first: make a context, fill a buffer, read it back, and say which library it runs with. */
#include <engram_um.h>
#include <stdio.h>
#include <string.h>

static int fail(const char *what)
{
    eum_error error = EUM_ERROR_INIT;
    eum_last_error(&error);
    fprintf(stderr, "%s: %s\n", what, error.sentence);
    return 1;
}

int main(void)
{
    static const char text[] = "one buffer, no copies";
    char copy[sizeof text] = {0};
    eum_context *context = NULL;
    eum_buffer *buffer = NULL;

    if (eum_version_number() != EUM_VERSION_NUMBER || strcmp(eum_version_string(), EUM_VERSION_STRING) != 0)
        return fprintf(stderr, "the library is not the header's\n"), 1;
    if (eum_context_create(NULL, &context) != EUM_OK)
        return fail("eum_context_create");
    if (eum_buffer_create(context, sizeof text, NULL, &buffer) != EUM_OK)
        return fail("eum_buffer_create");
    eum_view view = {buffer, 0, EUM_WHOLE_SIZE};
    if (eum_buffer_write(view, text) != EUM_OK)
        return fail("eum_buffer_write");
    if (eum_buffer_read(view, copy) != EUM_OK)
        return fail("eum_buffer_read");
    if (memcmp(copy, text, sizeof text) != 0)
        return fprintf(stderr, "the bytes changed\n"), 1;
    if (eum_buffer_destroy(buffer) != EUM_OK || eum_context_destroy(context) != EUM_OK)
        return fail("destroy");
    printf("engram_um %s\n", eum_version_string());
    return 0;
}
