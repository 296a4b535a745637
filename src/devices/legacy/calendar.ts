/**
 * The proleptic Gregorian calendar in days since 1970-01-01, without objects; the arithmetic counts years from March, so that
 * the leap day is the last of a year.
 */

const DAYS_PER_ERA = 146_097;
const YEARS_PER_ERA = 400;
/** From 0000-03-01 to 1970-01-01. */
const EPOCH_DAYS = 719_468;

/** Days from 1970-01-01 to a date; `month` 1 to 12. A day beyond the month's end runs into the next month. */
export function daysFromDate(year: number, month: number, day: number): number {
  const marchYear = month > 2 ? year : year - 1;
  const era = Math.floor(marchYear / YEARS_PER_ERA);
  const yearOfEra = marchYear - era * YEARS_PER_ERA;
  const dayOfYear = daysBeforeMarchMonth((month + 9) % 12) + day - 1;
  const leapDays = Math.floor(yearOfEra / 4) - Math.floor(yearOfEra / 100);
  return era * DAYS_PER_ERA + yearOfEra * 365 + leapDays + dayOfYear - EPOCH_DAYS;
}

export function yearOfDays(days: number): number {
  const marchYear = marchYearOfDays(days);
  return marchMonthOfDays(days) >= 10 ? marchYear + 1 : marchYear;
}

/** 1 to 12. */
export function monthOfDays(days: number): number {
  const marchMonth = marchMonthOfDays(days);
  return marchMonth < 10 ? marchMonth + 3 : marchMonth - 9;
}

/** 1 to 31. */
export function dayOfMonth(days: number): number {
  return dayOfMarchYear(days) - daysBeforeMarchMonth(marchMonthOfDays(days)) + 1;
}

/** 0 for Sunday. */
export function weekday(days: number): number {
  return (((days + 4) % 7) + 7) % 7;
}

/** Month 0 is March; the lengths repeat with a period of five months and 153 days. */
function daysBeforeMarchMonth(marchMonth: number): number {
  return Math.floor((153 * marchMonth + 2) / 5);
}

function marchYearOfDays(days: number): number {
  const sinceMarch0 = days + EPOCH_DAYS;
  const era = Math.floor(sinceMarch0 / DAYS_PER_ERA);
  const dayOfEra = sinceMarch0 - era * DAYS_PER_ERA;
  const leapDays = Math.floor(dayOfEra / 1460) - Math.floor(dayOfEra / 36_524) + Math.floor(dayOfEra / 146_096);
  return era * YEARS_PER_ERA + Math.floor((dayOfEra - leapDays) / 365);
}

function dayOfMarchYear(days: number): number {
  return days - daysFromDate(marchYearOfDays(days), 3, 1);
}

function marchMonthOfDays(days: number): number {
  return Math.floor((5 * dayOfMarchYear(days) + 2) / 153);
}
