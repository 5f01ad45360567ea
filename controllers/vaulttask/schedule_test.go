package vaulttask

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"github.com/robfig/cron/v3"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
	"sallyport.dev/sallyport/test/builder"
)

func moment(text string) time.Time {
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		panic(err)
	}
	return t
}

func scheduledTask(cron string, mutate ...func(*v1alpha1.TaskSchedule)) *v1alpha1.VaultTask {
	schedule := &v1alpha1.TaskSchedule{Cron: cron}
	for _, m := range mutate {
		m(schedule)
	}
	return builder.VaultTask("shop", "rotate", v1alpha1.OperationWrite, "db", func(t *v1alpha1.VaultTask) {
		t.CreationTimestamp = metav1.NewTime(moment("2026-03-01T00:00:00Z"))
		t.Spec.Schedule = schedule
	})
}

func TestASchedule(t *testing.T) {
	g := NewWithT(t)
	task := scheduledTask("0 3 * * *")
	next := due(task, moment("2026-03-01T02:00:00Z"))
	g.Expect(next.action).To(Equal(waitForSchedule))
	g.Expect(next.after).To(Equal(time.Hour))
	next.describe(task)
	g.Expect(due(task, moment("2026-03-01T02:30:00Z")).action).To(Equal(rest), "that was told already")

	next = due(task, moment("2026-03-04T03:00:01Z"))
	g.Expect(next.action).To(Equal(run))
	g.Expect(next.scheduledTime).To(Equal(moment("2026-03-04T03:00:00Z")), "of the missed times only the latest")

	begin(task, next.scheduledTime, moment("2026-03-04T03:00:01Z"))
	g.Expect(due(task, moment("2026-03-05T09:00:00Z"))).To(Equal(decision{action: run}), "a run goes on")
	complete(task, &outcome{result: &v1alpha1.TaskResult{Version: 7}}, moment("2026-03-04T03:00:02Z"))
	g.Expect(task.Status.NextScheduleTime.Time).To(BeTemporally("==", moment("2026-03-05T03:00:00Z")))
	g.Expect(due(task, moment("2026-03-04T03:00:03Z")).action).To(Equal(rest))
	g.Expect(due(task, moment("2026-03-05T03:00:00Z")).scheduledTime).To(Equal(moment("2026-03-05T03:00:00Z")))
}

func TestAMissedTimeIsLeftOutWhenItIsTooLate(t *testing.T) {
	g := NewWithT(t)
	deadline := int64(60)
	task := scheduledTask("0 3 * * *", func(s *v1alpha1.TaskSchedule) { s.StartingDeadlineSeconds = &deadline })
	g.Expect(due(task, moment("2026-03-02T03:00:59Z")).action).To(Equal(run))
	late := due(task, moment("2026-03-02T03:02:00Z"))
	g.Expect(late.action).To(Equal(waitForSchedule))
	g.Expect(late.next).To(Equal(moment("2026-03-03T03:00:00Z")))
}

func TestALongSleepDoesNotCountEveryMissedTime(t *testing.T) {
	g := NewWithT(t)
	next := due(scheduledTask("* * * * *"), moment("2029-03-02T03:00:30Z"))
	g.Expect(next.scheduledTime).To(Equal(moment("2029-03-02T03:00:00Z")))
}

func TestAScheduleFollowsItsTimeZone(t *testing.T) {
	g := NewWithT(t)
	task := scheduledTask("0 3 * * *", func(s *v1alpha1.TaskSchedule) { s.TimeZone = "Europe/Berlin" })
	g.Expect(due(task, moment("2026-03-01T00:00:00Z")).next).To(Equal(moment("2026-03-01T02:00:00Z")), "winter")
	task.CreationTimestamp = metav1.NewTime(moment("2026-07-01T00:00:00Z"))
	g.Expect(due(task, moment("2026-07-01T00:00:00Z")).next).To(Equal(moment("2026-07-01T01:00:00Z")), "summer")
}

func TestAScheduleThatIsNone(t *testing.T) {
	for name, test := range map[string]struct{ cron, zone, sentence string }{
		"never comes":      {"0 0 30 2 *", "", "never comes"},
		"is no cron":       {"tomorrow", "", "is no schedule"},
		"has six fields":   {"0 0 0 * * *", "", "is no schedule"},
		"is in no zone":    {"0 0 * * *", "Europe/Sallyport", "there is no time zone"},
		"is in some zone":  {"0 0 * * *", "Local", "there is no time zone"},
		"climbs the paths": {"0 0 * * *", "../etc/passwd", "there is no time zone"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			task := scheduledTask(test.cron, func(s *v1alpha1.TaskSchedule) { s.TimeZone = test.zone })
			next := due(task, moment("2026-03-01T00:00:00Z"))
			g.Expect(next.action).To(Equal(refuse))
			g.Expect(next.problem.Message()).To(ContainSubstring(test.sentence))
			g.Expect(next.problem.Class).To(Equal(fault.ClassTerminal))
		})
	}
}

// TestAdmissionRefusesNoScheduleThatCanBeKept: what the CRD's rules refuse, cron refuses too, by every form that a field
// can have.
func TestAdmissionRefusesNoScheduleThatCanBeKept(t *testing.T) {
	g := NewWithT(t)
	admits := cronRules(t)
	refused := 0
	judge := func(schedule string) {
		_, err := cron.ParseStandard(schedule)
		if !admits(schedule) {
			refused++
			g.Expect(err).To(HaveOccurred(), "%q", schedule)
		}
	}
	numbers := []string{
		"0", "1", "6", "7", "9", "12", "13", "23", "24", "31", "32", "59", "60", "99", "100", "007", "+5", "-1", "1.5", "",
		"jan", "DEC", "Sun", "sat", "monday", "su", "x", "*", "?", "**", "*1",
	}
	for field := range 5 {
		in := func(text string) {
			fields := []string{"*", "*", "*", "*", "*"}
			fields[field] = text
			judge(strings.Join(fields, " "))
		}
		for _, a := range numbers {
			in(a)
			for _, b := range numbers {
				for _, form := range []string{"%s-%s", "%s/%s", "%s,%s", ",%s,,%s,", "%s-%s/2", "%s-%s/99", "%s/1,%s"} {
					in(fmt.Sprintf(form, a, b))
				}
			}
		}
	}
	for _, whole := range []string{
		"@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly", "@every 1m", "@every 90s", "@reboot", " @daily",
		"* * * *", "* * * * * *", "\t*  *\u00a0* *\u2003*\n", "*\v*\f* * *", "", " ", "tomorrow", ", , , , ,",
	} {
		judge(whole)
	}
	g.Expect(refused).To(BeNumerically(">", 1000), "so that it is known to refuse anything")
	for _, kept := range []string{"0 3 * * *", "*/5 0-23/2 1,15 jan-DEC mon-fri", "@hourly"} {
		g.Expect(admits(kept)).To(BeTrue(), kept)
	}
	for _, wrong := range []string{"60 * * * *", "0 24 * * *", "0 0 32 * *", "0 0 0 * *", "0 0 * 13 *", "0 0 * * 7", "0 0 * * monday", "0 0 0 * * *"} {
		g.Expect(admits(wrong)).To(BeFalse(), wrong)
	}
}

// cronRules are the CRD's rules for the forms of spec.schedule.cron. Each is a form, or a form and one that a schedule of
// that form must not have as well.
func cronRules(t *testing.T) func(schedule string) bool {
	t.Helper()
	g := NewWithT(t)
	content, err := os.ReadFile("../../config/crd/bases/sallyport.dev_vaulttasks.yaml")
	g.Expect(err).NotTo(HaveOccurred())
	var crd apiextensionsv1.CustomResourceDefinition
	g.Expect(yaml.Unmarshal(content, &crd)).To(Succeed())
	spec := crd.Spec.Versions[0].Schema.OpenAPIV3Schema.Properties["spec"]
	var rules []string
	for _, validation := range spec.Properties["schedule"].Properties["cron"].XValidations {
		if strings.Contains(validation.Rule, "{4}") {
			rules = append(rules, validation.Rule)
		}
	}
	g.Expect(rules).To(HaveLen(6))
	form := regexp.MustCompile(`self\.matches\('([^']*)'\)`)
	named := regexp.MustCompile(`'(@[a-z]+)'`)
	var names []string
	var forms [][]*regexp.Regexp
	for _, rule := range rules {
		var these []*regexp.Regexp
		for _, match := range form.FindAllStringSubmatch(rule, -1) {
			these = append(these, regexp.MustCompile(match[1]))
		}
		if len(these) == 1 {
			for _, name := range named.FindAllStringSubmatch(rule, -1) {
				names = append(names, name[1])
			}
		}
		forms = append(forms, these)
	}
	return func(schedule string) bool {
		for _, these := range forms {
			fits := these[0].MatchString(schedule)
			switch {
			case len(these) > 1 && fits && these[1].MatchString(schedule):
				return false
			case len(these) == 1 && !fits && !strings.HasPrefix(schedule, "@every ") && !slices.Contains(names, schedule):
				return false
			}
		}
		return true
	}
}

func TestHistoryIsBounded(t *testing.T) {
	g := NewWithT(t)
	two, none := int32(2), int32(0)
	task := scheduledTask("@hourly",
		func(s *v1alpha1.TaskSchedule) { s.SuccessfulHistoryLimit, s.FailedHistoryLimit = &two, &none })
	for i := range 4 {
		now := moment("2026-03-01T01:00:00Z").Add(time.Duration(i) * time.Hour)
		begin(task, now, now)
		complete(task, &outcome{result: &v1alpha1.TaskResult{Version: int64(i)}}, now)
		begin(task, now, now)
		fail(task, fault.Terminal(v1alpha1.ReasonInvalidSpec, "no"), now)
	}
	g.Expect(task.Status.History).To(HaveLen(2))
	g.Expect(task.Status.History[0].Version).To(BeEquivalentTo(3))
	g.Expect(task.Status.History[1].Version).To(BeEquivalentTo(2))
}
