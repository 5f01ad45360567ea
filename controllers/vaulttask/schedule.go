package vaulttask

import (
	"time"
	_ "time/tzdata" // the image holds no time zones

	"github.com/robfig/cron/v3"

	"sallyport.dev/sallyport/api/v1alpha1"
	"sallyport.dev/sallyport/internal/fault"
)

// maxMissed bounds how many missed times are looked at one by one.
const maxMissed = 1000

// timetable is a cron schedule in its time zone.
type timetable struct {
	schedule cron.Schedule
	zone     *time.Location
}

// parseSchedule reads a schedule. One that never comes is refused too: a 30th of February would otherwise wait in
// silence.
func parseSchedule(spec *v1alpha1.TaskSchedule, now time.Time) (timetable, *fault.Fault) {
	zone := time.UTC
	if spec.TimeZone != "" {
		var err error
		if zone, err = time.LoadLocation(spec.TimeZone); err != nil || spec.TimeZone == "Local" {
			return timetable{}, fault.Terminal(v1alpha1.ReasonInvalidSpec,
				"spec.schedule.timeZone: there is no time zone %q", spec.TimeZone).
				WithRemedy("write a name of the IANA database, such as Europe/Berlin")
		}
	}
	schedule, err := cron.ParseStandard(spec.Cron)
	if err != nil {
		return timetable{}, fault.Terminal(v1alpha1.ReasonInvalidSpec,
			"spec.schedule.cron: %q is no schedule", spec.Cron).
			WithRemedy("write cron's five fields, minute hour day month weekday, such as 0 3 * * *")
	}
	times := timetable{schedule, zone}
	if times.after(now).IsZero() {
		return timetable{}, fault.Terminal(v1alpha1.ReasonInvalidSpec,
			"spec.schedule.cron: %q never comes", spec.Cron).
			WithRemedy("write a day that the month has")
	}
	return times, nil
}

func (t timetable) after(moment time.Time) time.Time {
	next := t.schedule.Next(moment.In(t.zone))
	if next.IsZero() {
		return next
	}
	return next.UTC().Truncate(time.Second)
}

// between returns the latest time after since that has come, zero if none has, and the next one that is still to come.
func (t timetable) between(since, now time.Time) (latest, next time.Time) {
	next = t.after(since)
	for i := 0; !next.IsZero() && !next.After(now); i++ {
		latest = next
		if next = t.after(next); i == maxMissed { // long asleep: begin again close to now
			if jump := t.after(now.Add(-2 * next.Sub(latest))); jump.After(next) {
				next = jump
			}
		}
	}
	return latest, next
}
