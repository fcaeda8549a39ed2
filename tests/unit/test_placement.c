/* Placement of managed memory against a model of a driver: every small state, use and device; and what roles make of it.
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "placement_fixture.h"

Suite *placement_suite(void);

/* ---------------------------------------------------------------------------------------------- managed memory ----- */

#define PAGE 2u
#define PAGES 3u
#define COVERED (PAGE * PAGES) /* what the extents cover */
#define LENGTH (COVERED - 1)   /* the buffer's length: the last byte is padding */
#define SHORT (PAGE + 1)       /* another length: the last page is padding, too */

/* What a driver knows of a page. */
typedef struct page_state {
    bool host, device, read_mostly, accessed_by;
    bool content[PAGE]; /* bytes worth something */
    bool unknown;       /* the extents do not know where it is */
    bool stuck;         /* was read-mostly where it is: mapped for reading only, until it moves */
} page_state;

enum {
    NEVER_WRITTEN,
    AT_HOST,
    AT_DEVICE,
    DUPLICATED,
    MOSTLY_HOST,
    MOSTLY_DEVICE,
    ASTRAY_HOST,
    ASTRAY_DEVICE,
    STUCK_DEVICE,
    STUCK_ASTRAY,
    MAPPED_HOST,
    STATES
};

static page_state page_of(unsigned kind)
{
    page_state page = {.content = {true, true}};
    switch (kind) {
    case NEVER_WRITTEN:
        return (page_state){0};
    case AT_HOST:
        page.host = true;
        break;
    case AT_DEVICE:
        page.device = true;
        break;
    case DUPLICATED:
        page.host = page.device = page.read_mostly = true;
        break;
    case MOSTLY_HOST:
        page.host = page.read_mostly = true;
        break;
    case MOSTLY_DEVICE:
        page.device = page.read_mostly = true;
        break;
    case ASTRAY_HOST:
        page.host = page.unknown = true;
        break;
    case ASTRAY_DEVICE:
        page.device = page.unknown = true;
        break;
    case STUCK_DEVICE:
        page.device = page.stuck = true;
        break;
    case STUCK_ASTRAY:
        page.device = page.stuck = page.unknown = true;
        break;
    default:
        page.host = page.accessed_by = true;
        break;
    }
    return page;
}

static eum_extent_change state_change(const page_state *page)
{
    eum_extent_change change = EUM_EXTENT_CHANGE_NONE;
    if (!page->unknown)
        change.valid_add = (page->host ? EUM_AT_HOST : 0) | (page->device ? eum_at(DEVICE) : 0);
    change.flags_set = (page->read_mostly ? EUM_EXTENT_READ_MOSTLY : 0) | (page->unknown ? EUM_EXTENT_ASTRAY : 0) |
                       (page->stuck ? EUM_EXTENT_STUCK : 0);
    change.accessed_by_add = page->accessed_by ? eum_at(DEVICE) : 0;
    return change;
}

typedef struct trial {
    eum_use use;
    page_state before[PAGES], pages[PAGES];
    bool collapse_to_host; /* where copies collapse to is the driver's choice */
    uint64_t moved;        /* by the model */
} trial;

/* Check writes to a pipe for every assertion that holds: far too slow for millions of them. */
static void fail_trial(const trial *t, const char *what)
{
    ck_abort_msg(
        "%s: access %d at %d, [%u, %u), role %d, discard %d, holds %d, pages (host, device, read-mostly) %d%d%d %d%d%d %d%d%d",
        what, (int)t->use.access, (int)t->use.where, (unsigned)t->use.begin, (unsigned)t->use.end, (int)t->use.role,
        t->use.can_discard, t->use.host_holds_page, t->before[0].host, t->before[0].device, t->before[0].read_mostly,
        t->before[1].host, t->before[1].device, t->before[1].read_mostly, t->before[2].host, t->before[2].device,
        t->before[2].read_mostly);
}

#define trial_assert(t, condition, what)                                                                                           \
    do {                                                                                                                           \
        if (!(condition))                                                                                                          \
            fail_trial(t, what);                                                                                                   \
    } while (0)

static bool has_content(const page_state *page)
{
    return page->content[0] || page->content[1];
}

/* Bytes of whole pages that are overwritten and stand somewhere else. */
static bool is_interior(const trial *t, uint64_t page)
{
    uint64_t end = (page + 1) * PAGE < t->use.length ? (page + 1) * PAGE : t->use.length;
    return t->use.access == EUM_ACCESS_OVERWRITE && t->use.begin <= page * PAGE && t->use.end >= end;
}

static void drive_page(trial *t, page_state *page, const eum_step *step)
{
    bool to_host = step->where == EUM_LOCATION_HOST;
    switch (step->kind) {
    case EUM_STEP_UNSET_READ_MOSTLY:
        trial_assert(t, page->read_mostly, "unset of a page that is not read-mostly");
        page->read_mostly = page->accessed_by = false; /* copies and mappings are gone */
        if (page->host && page->device)                /* where to is said to the driver before a write of the device's: move.c */
            *(t->collapse_to_host || step->keeps_host || !to_host ? &page->device : &page->host) = false;
        page->stuck = true;
        if (t->use.host_holds_page && step->where == EUM_LOCATION_HOST)
            trial_assert(t, page->host || !step->keeps_host, "a page is taken from another map");
        break;
    case EUM_STEP_SET_READ_MOSTLY:
        trial_assert(t, !page->read_mostly, "a hint that is already there");
        page->read_mostly = true;
        page->accessed_by = false; /* read-mostly advice is stronger */
        break;
    case EUM_STEP_DISCARD:
        memset(page->content, 0, sizeof page->content);
        page->host = page->device = page->stuck = false;
        break;
    case EUM_STEP_BOUNCE:
        trial_assert(t, t->use.where == DEVICE && to_host && !page->read_mostly, "a bounce that is not the device's");
        t->moved += page->host ? 0 : PAGE;
        page->host = true;
        page->device = page->stuck = false;
        break;
    case EUM_STEP_PREFETCH:
        if (has_content(page) && !(to_host ? page->host : page->device)) {
            t->moved += PAGE;
            trial_assert(t, !t->use.can_discard || t->use.busy || !is_interior(t, (uint64_t)(page - t->pages)),
                         "worthless bytes were moved");
        }
        if (!(to_host ? page->host : page->device))
            page->stuck = false;
        if (!page->read_mostly || !has_content(page))
            page->host = page->device = false;
        *(to_host ? &page->host : &page->device) = true;
        break;
    case EUM_STEP_IN_PLACE:
        page->accessed_by = true;
        break;
    case EUM_STEP_COPY:
        trial_assert(t, false, "a copy of managed memory");
    }
}

static bool reachable(const page_state *page, eum_location where, bool write)
{
    bool here = where == EUM_LOCATION_HOST ? page->host : page->device;
    bool stuck = page->stuck && where != EUM_LOCATION_HOST; /* the CPU's first write may fault */
    if (here && !(write && (page->read_mostly || stuck)))
        return true;
    return where != EUM_LOCATION_HOST && page->host && !page->device && page->accessed_by && !page->read_mostly;
}

static void check_extents(const trial *t, const eum_extents *extents)
{
    for (uint64_t i = 0; i < COVERED; i++) {
        const eum_extent *e = &extents->items[eum_extents_find(extents, i)];
        const page_state *page = &t->pages[i / PAGE];
        trial_assert(t, (e->valid & EUM_AT_HOST) == 0 || page->host, "the extents believe in a copy on the host");
        trial_assert(t, (e->valid & eum_at(DEVICE)) == 0 || page->device, "the extents believe in a copy on the device");
        trial_assert(t, ((e->flags & EUM_EXTENT_READ_MOSTLY) != 0) == page->read_mostly, "the extents are wrong about read-mostly");
        trial_assert(t, !page->stuck || !page->device || (e->flags & EUM_EXTENT_STUCK) != 0, "the extents believe in a mapping");
        trial_assert(t, (e->accessed_by != 0) <= page->accessed_by, "the extents believe in accessed-by");
        bool worthless = e->valid == 0 && (e->flags & EUM_EXTENT_ASTRAY) == 0;
        trial_assert(t, !(worthless && page->content[i % PAGE]), "the extents forget bytes");
    }
}

static void check_bytes(const trial *t)
{
    for (uint64_t i = 0; i < t->use.length; i++) {
        bool replaced = t->use.access == EUM_ACCESS_OVERWRITE && i >= t->use.begin && i < t->use.end;
        if (t->before[i / PAGE].content[i % PAGE] && !replaced)
            trial_assert(t, t->pages[i / PAGE].content[i % PAGE], "bytes that are kept were dropped");
    }
    for (uint64_t i = t->use.begin; i < t->use.end; i++)
        trial_assert(t, reachable(&t->pages[i / PAGE], t->use.where, t->use.access != EUM_ACCESS_READ), "a touch would fault");
}

static void check_steps(const trial *t, const eum_plan *plan)
{
    eum_step_kind newest = EUM_STEP_UNSET_READ_MOSTLY;
    for (size_t i = 0; i < plan->count; i++) {
        const eum_step *step = &plan->steps[i];
        trial_assert(t, step->begin < step->end && step->end <= COVERED, "an empty step, or one beyond the end");
        trial_assert(t, step->begin % PAGE == 0 && step->end % PAGE == 0, "a step on part of a page");
        trial_assert(t, step->begin + PAGE > t->use.begin && step->end < t->use.end + PAGE, "a step beyond the pages of the use");
        trial_assert(t, step->kind >= newest, "steps out of order");
        newest = step->kind;
        for (uint64_t p = step->begin / PAGE; p < step->end / PAGE; p++) {
            bool needed = !is_interior(t, p);
            if (step->kind == EUM_STEP_DISCARD)
                trial_assert(t, !needed && !t->use.busy,
                             "a discard of a page with bytes that are kept, or while something is in flight");
            if (step->kind == EUM_STEP_PREFETCH && t->use.can_discard && !t->use.busy && !needed && !t->before[p].unknown)
                trial_assert(t, step->moving == 0 || step->end - step->begin > PAGE, "worthless bytes travel");
        }
    }
    if (t->use.access == EUM_ACCESS_OVERWRITE && t->use.can_discard && !t->use.busy && t->use.begin == 0 &&
        t->use.end == t->use.length)
        for (size_t i = 0; i < plan->count; i++)
            trial_assert(t, plan->steps[i].moving == 0, "bytes travel although all of them are worthless");
}

static uint64_t planned_bytes(const eum_plan *plan)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < plan->count; i++)
        sum += plan->steps[i].moving;
    return sum;
}

static void check_counts(const trial *t, const eum_plan *plan, bool all_known)
{
    uint64_t planned = planned_bytes(plan);
    /* Where duplicates collapse to is the driver's choice; the plan counts on the side that does not write. */
    for (size_t p = 0; p < PAGES; p++)
        if (t->before[p].host && t->before[p].device && t->collapse_to_host == (t->use.where == EUM_LOCATION_HOST))
            return;
    trial_assert(t, t->moved <= planned, "more moves than the plan says");
    if (all_known)
        trial_assert(t, planned == t->moved, "the plan says that more moves than does");
    bool in_place_on_device = eum_use_in_place(&t->use);
    if (t->use.access == EUM_ACCESS_OVERWRITE && !t->use.can_discard && t->use.where != EUM_LOCATION_HOST && !in_place_on_device)
        for (size_t i = 0; i < plan->count; i++)
            for (uint64_t p = plan->steps[i].begin / PAGE; p < plan->steps[i].end / PAGE; p++)
                trial_assert(t,
                             !(plan->steps[i].kind == EUM_STEP_PREFETCH && plan->steps[i].where != EUM_LOCATION_HOST &&
                               plan->steps[i].moving > 0 && plan->steps[i].end - plan->steps[i].begin == PAGE && is_interior(t, p)),
                             "worthless bytes travel to the device");
}

static bool all_known(const page_state *pages)
{
    for (size_t p = 0; p < PAGES; p++)
        if (pages[p].unknown || pages[p].read_mostly || pages[p].stuck)
            return false;
    return true;
}

static void try_one(trial *t)
{
    eum_extents extents;
    eum_plan plan;
    eum_extents_init(&extents, COVERED, 0, 0);
    trial_assert(t, eum_extents_reserve(&extents, 40), "no memory");
    for (uint64_t p = 0; p < PAGES; p++) {
        eum_extent_change change = state_change(&t->before[p]);
        eum_extents_change(&extents, p * PAGE, (p + 1) * PAGE, &change);
    }
    memcpy(t->pages, t->before, sizeof t->pages);
    t->moved = 0;
    eum_plan_init(&plan);
    eum_plan_use(&plan, &extents, &t->use);
    trial_assert(t, !plan.no_memory, "no memory");
    check_steps(t, &plan);
    for (size_t i = 0; i < plan.count; i++) {
        for (uint64_t p = plan.steps[i].begin / PAGE; p < plan.steps[i].end / PAGE; p++)
            drive_page(t, &t->pages[p], &plan.steps[i]);
        eum_extent_change change = eum_step_change(&plan.steps[i]);
        eum_extents_change(&extents, plan.steps[i].begin, plan.steps[i].end, &change);
    }
    check_bytes(t);
    check_extents(t, &extents);
    check_counts(t, &plan, all_known(t->before));

    /* The same use again finds everything in place. */
    eum_plan again;
    eum_plan_init(&again);
    if (t->use.access != EUM_ACCESS_OVERWRITE || !t->use.can_discard) {
        eum_plan_use(&again, &extents, &t->use);
        trial_assert(t, again.count == 0, "the same use again moves or hints again");
    }
    eum_plan_free(&again);
    eum_plan_free(&plan);
    eum_extents_free(&extents);
}

static void try_all_ranges(trial *t)
{
    for (uint64_t begin = 0; begin < t->use.length; begin++) {
        for (uint64_t end = begin + 1; end <= t->use.length; end++) {
            t->use.begin = begin;
            t->use.end = end;
            try_one(t);
        }
    }
}

static void try_all_uses(trial *t, uint64_t length)
{
    static const eum_location places[] = {EUM_LOCATION_HOST, DEVICE};
    for (eum_access access = EUM_ACCESS_READ; access <= EUM_ACCESS_OVERWRITE; access++) {
        for (size_t place = 0; place < 2; place++) {
            for (eum_role role = EUM_ROLE_AUTO; role <= EUM_ROLE_STREAM; role++) {
                for (unsigned bits = 0; bits < 32; bits++) {
                    if (places[place] == EUM_LOCATION_HOST && access == EUM_ACCESS_READ && (bits & 2) != 0)
                        continue;
                    if ((bits & 16) != 0 && (role != EUM_ROLE_AUTO || places[place] == EUM_LOCATION_HOST))
                        continue;
                    t->use = (eum_use){.access = access,
                                       .where = places[place],
                                       .backing = EUM_BACKING_MANAGED,
                                       .role = role,
                                       .page = PAGE,
                                       .bytes = COVERED,
                                       .length = length,
                                       .can_discard = (bits & 1) != 0,
                                       .host_holds_page = (bits & 2) != 0,
                                       .concurrent = true,
                                       .stay = (bits & 16) != 0,
                                       .duplicate = access == EUM_ACCESS_READ && (bits & 8) != 0,
                                       .busy = access != EUM_ACCESS_READ && (bits & 8) != 0};
                    t->collapse_to_host = (bits & 4) != 0;
                    try_all_ranges(t);
                }
            }
        }
    }
}

/* One test for each state of the first page, so that a failure says where, and the time is divided. */
START_TEST(after_the_plan_no_touch_of_managed_memory_faults_and_no_byte_is_lost)
{
    trial t;
    for (unsigned second = 0; second < STATES; second++) {
        for (unsigned third = 0; third < STATES; third++) {
            t.before[0] = page_of((unsigned)_i);
            t.before[1] = page_of(second);
            t.before[2] = page_of(third);
            t.before[2].content[PAGE - 1] = false; /* padding */
            try_all_uses(&t, LENGTH);
            t.before[1].content[PAGE - 1] = t.before[2].content[0] = false;
            try_all_uses(&t, SHORT);
        }
    }
}
END_TEST

START_TEST(the_pages_of_wrapped_memory_are_those_of_the_driver)
{
    eum_use use = {.access = EUM_ACCESS_READ,
                   .where = DEVICE,
                   .backing = EUM_BACKING_MANAGED,
                   .page = 8,
                   .skew = 3,
                   .bytes = 20,
                   .length = 20,
                   .concurrent = true};
    for (use.begin = 0; use.begin < 20; use.begin++) {
        for (use.end = use.begin + 1; use.end <= 20; use.end++) {
            uint64_t begin, end, first = use.begin, last = use.end;
            while (first > 0 && (first + 3) % 8 != 0)
                first--;
            while (last < 20 && (last + 3) % 8 != 0)
                last++;
            eum_use_footprint(&use, &begin, &end);
            demand(begin == first && end == last);
        }
    }
}
END_TEST

START_TEST(without_concurrent_access_managed_memory_is_left_to_the_driver)
{
    eum_extents extents;
    eum_plan plan;
    eum_extents_init(&extents, COVERED, EUM_AT_HOST, 0);
    eum_plan_init(&plan);
    eum_use use = {.end = LENGTH,
                   .access = EUM_ACCESS_READ,
                   .where = DEVICE,
                   .backing = EUM_BACKING_MANAGED,
                   .page = PAGE,
                   .bytes = COVERED,
                   .length = LENGTH};
    eum_plan_use(&plan, &extents, &use);
    ck_assert_uint_eq(plan.count, 0);
    eum_extents_free(&extents);
}
END_TEST

START_TEST(memory_that_stays_where_it_is_is_never_moved)
{
    static const eum_backing backings[] = {EUM_BACKING_HOST, EUM_BACKING_MAPPED, EUM_BACKING_DEVICE};
    for (size_t i = 0; i < 3; i++) {
        for (eum_access access = EUM_ACCESS_READ; access <= EUM_ACCESS_OVERWRITE; access++) {
            eum_extents extents;
            eum_plan plan;
            eum_extents_init(&extents, LENGTH, EUM_AT_HOST, 0);
            eum_plan_init(&plan);
            eum_use use = {.end = LENGTH,
                           .access = access,
                           .where = DEVICE,
                           .backing = backings[i],
                           .page = 1,
                           .bytes = LENGTH,
                           .length = LENGTH};
            eum_plan_use(&plan, &extents, &use);
            ck_assert_uint_eq(plan.count, 0);
            eum_extents_free(&extents);
        }
    }
}
END_TEST

START_TEST(a_read_duplicates_where_both_sides_read_or_where_little_is_to_be_gained)
{
    const uint64_t small = EUM_DUPLICATE_FREELY, large = small + 1;
    const struct {
        eum_read_question question;
        bool duplicates;
    } cases[] = {
        {{.role = EUM_ROLE_AUTO, .bytes = small, .to_device = true}, true},
        {{.role = EUM_ROLE_AUTO, .bytes = small}, true},
        {{.role = EUM_ROLE_AUTO, .bytes = large, .to_device = true}, false},
        {{.role = EUM_ROLE_AUTO, .bytes = large}, false},
        {{.role = EUM_ROLE_TARGETS, .bytes = large, .to_device = true}, false},
        {{.role = EUM_ROLE_QUERY, .bytes = large, .to_device = true}, true},
        {{.role = EUM_ROLE_QUERY, .bytes = large}, true},
        {{.role = EUM_ROLE_TARGETS, .bytes = large, .to_device = true, .other_side_reads = true}, true},
        {{.role = EUM_ROLE_AUTO, .bytes = large, .other_side_reads = true}, true},
        {{.role = EUM_ROLE_AUTO, .bytes = large, .to_device = true, .came_back = true}, true},
        {{.role = EUM_ROLE_AUTO, .bytes = large, .came_back = true}, false}, /* back to the host a copy is slow */
        {{.role = EUM_ROLE_QUERY, .bytes = small, .to_device = true, .rewritten = true}, false},
        {{.role = EUM_ROLE_QUERY, .bytes = large, .rewritten = true}, false},
        {{.role = EUM_ROLE_QUERY, .bytes = large, .to_device = true, .rewritten = true, .came_back = true}, true},
        {{.role = EUM_ROLE_QUERY, .bytes = large, .to_device = true, .rewritten = true, .other_side_reads = true}, true},
        {{.role = EUM_ROLE_QUERY, .bytes = small, .to_device = true, .other_side_reads = true, .came_back = true, .writers = true},
         false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        ck_assert_msg(eum_read_duplicates(&cases[i].question) == cases[i].duplicates, "case %zu", i);
}
END_TEST

START_TEST(an_empty_use_plans_nothing)
{
    eum_extents extents;
    eum_plan plan;
    eum_extents_init(&extents, COVERED, EUM_AT_HOST, 0);
    eum_plan_init(&plan);
    for (int backing = EUM_BACKING_MANAGED; backing <= EUM_BACKING_MIRRORED; backing++) {
        eum_use use = {.begin = 3,
                       .end = 3,
                       .access = EUM_ACCESS_READ_WRITE,
                       .where = DEVICE,
                       .backing = backing,
                       .page = PAGE,
                       .bytes = COVERED,
                       .length = LENGTH,
                       .concurrent = true};
        eum_plan_use(&plan, &extents, &use);
        ck_assert_uint_eq(plan.count, 0);
        uint64_t begin, end;
        eum_use_footprint(&use, &begin, &end);
        ck_assert_uint_eq(begin, end);
    }
    eum_extents_free(&extents);
}
END_TEST

/* ------------------------------------------------------------------------------------------------------- roles ----- */

START_TEST(results_and_streams_are_used_in_place_by_the_device_only)
{
    for (eum_role role = EUM_ROLE_AUTO; role <= EUM_ROLE_STREAM; role++) {
        eum_use use = {.end = 1,
                       .access = EUM_ACCESS_OVERWRITE,
                       .where = DEVICE,
                       .backing = EUM_BACKING_MANAGED,
                       .role = role,
                       .page = PAGE,
                       .bytes = COVERED,
                       .length = LENGTH,
                       .concurrent = true};
        ck_assert_int_eq(eum_use_in_place(&use), role == EUM_ROLE_RESULTS || role == EUM_ROLE_STREAM);
        use.where = EUM_LOCATION_HOST;
        ck_assert(!eum_use_in_place(&use));
        use.where = DEVICE;
        use.backing = EUM_BACKING_MIRRORED;
        ck_assert(!eum_use_in_place(&use));
    }
}
END_TEST

START_TEST(mirrored_results_are_written_in_place_up_to_eight_mebibytes_and_never_read_there)
{
    const uint64_t most = (uint64_t)8 << 20;
    const struct {
        eum_role role;
        eum_access access;
        uint64_t bytes;
        bool in_place;
    } table[] = {{EUM_ROLE_RESULTS, EUM_ACCESS_OVERWRITE, most, true},
                 {EUM_ROLE_RESULTS, EUM_ACCESS_READ_WRITE, most, true},
                 {EUM_ROLE_RESULTS, EUM_ACCESS_OVERWRITE, most + 1, false},
                 {EUM_ROLE_RESULTS, EUM_ACCESS_READ, 1, false},
                 {EUM_ROLE_STREAM, EUM_ACCESS_READ, most + 1, true},
                 {EUM_ROLE_STREAM, EUM_ACCESS_OVERWRITE, most + 1, true},
                 {EUM_ROLE_TARGETS, EUM_ACCESS_READ, 1, false},
                 {EUM_ROLE_QUERY, EUM_ACCESS_READ, 1, false},
                 {EUM_ROLE_AUTO, EUM_ACCESS_OVERWRITE, 1, false}};
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        eum_use use = {.begin = 3,
                       .end = 3 + table[i].bytes,
                       .access = table[i].access,
                       .where = DEVICE,
                       .backing = EUM_BACKING_MIRRORED,
                       .role = table[i].role};
        ck_assert_msg(eum_role_in_place(&use) == table[i].in_place, "line %zu", i);
        use.backing = EUM_BACKING_MANAGED; /* there the role alone decides: pages have no second place to be written in */
        ck_assert_msg(eum_role_in_place(&use) == eum_role_stays_on_host(use.role), "line %zu, managed", i);
    }
}
END_TEST

Suite *placement_suite(void)
{
    Suite *suite = suite_create("placement");
    TCase *tests = tcase_create("placement");
    tcase_set_timeout(tests, 240);
    tcase_add_loop_test(tests, after_the_plan_no_touch_of_managed_memory_faults_and_no_byte_is_lost, 0, STATES);
    tcase_add_test(tests, the_pages_of_wrapped_memory_are_those_of_the_driver);
    tcase_add_test(tests, without_concurrent_access_managed_memory_is_left_to_the_driver);
    tcase_add_test(tests, memory_that_stays_where_it_is_is_never_moved);
    tcase_add_test(tests, a_read_duplicates_where_both_sides_read_or_where_little_is_to_be_gained);
    tcase_add_test(tests, an_empty_use_plans_nothing);
    tcase_add_test(tests, results_and_streams_are_used_in_place_by_the_device_only);
    tcase_add_test(tests, mirrored_results_are_written_in_place_up_to_eight_mebibytes_and_never_read_there);
    suite_add_tcase(suite, tests);
    return suite;
}
